// Package quorum decides when a put or a get has enough replies. It is arithmetic only: no I/O, no
// clock, no goroutine, no context. The coordinator is the shell that sends what these machines ask
// for, tells them what came of it, and looks at the verdict after each event. That makes every
// order of acknowledgements, losses and late replies a thing that a test can walk through.
//
// The rules come from the Dynamo paper, 4.5 (N, R, W and the preference list) and 4.6 (sloppy
// quorums and hinted handoff), made stricter where the paper leaves room for doubt: a fallback's
// copy counts only as the stand-in of one named owner, each owner counts once, and a read whose
// replicas differ does not answer before enough of them hold the answer.
//
// While a partition moves from one layout to the next, both owner sets decide: what one of them has
// answered is told to the other side too, if it is of both, and nothing is decided before each has its
// own quorum. A plan that names no sides has one.
//
// A place is an index into the list that the plan describes: the preference list of a put, the
// candidates of a get. A machine belongs to one goroutine at a time.
package quorum

// Verdict is how a put stands. It leaves Pending once and never changes after that.
type Verdict uint8

const (
	// Pending: what is on its way may still decide it either way.
	Pending Verdict = iota
	// Won: W distinct owners of each side have acknowledged, by themselves or by a stand-in.
	Won
	// Lost: nothing on its way can bring it to W any more.
	Lost
)

// String names the verdict.
func (v Verdict) String() string { return name(v, "pending", "won", "lost") }

// GetVerdict is how a get stands. It goes from ReadPending to Agreed, Conflict or ReadLost, and
// from Conflict, once joined, to Stable or ReadLost; it never goes back.
type GetVerdict uint8

const (
	// ReadPending: answers are missing, or states that are needed to join them.
	ReadPending GetVerdict = iota
	// Agreed: R places of each side hold one digest, and the state is in hand. Reply.
	Agreed
	// Conflict: R places of each side answered, not all alike, and each one's state is in hand. Join
	// them, call Get.Join, and wait for Stable.
	Conflict
	// Stable: enough places hold the join that no later quorum read can miss it. Reply.
	Stable
	// ReadLost: too few places are left to answer, or, once joined, to hold the join.
	ReadLost
)

// String names the verdict.
func (v GetVerdict) String() string {
	return name(v, "pending", "agreed", "conflict", "stable", "lost")
}

func name[V Verdict | GetVerdict | Kind](v V, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "invalid"
}

// Count says how far a request came, for replies and for errors. Of two sides it is the one that is
// farthest from what it needs.
type Count struct {
	// Required is the number of replies that decide it.
	Required int
	// Received is the number that count towards Required so far.
	Received int
	// Live is the number that count or still may: Live < Required is a lost cause.
	Live int
	// Fallbacks is the number of the Received that came from fallbacks.
	Fallbacks int
}
