package paxos

// Kind says what an acceptor's reply is.
type Kind uint8

// What an acceptor replies.
const (
	// Promised: it takes no ballot below Ballot any more. Accepted and Value are what it had accepted, if anything.
	Promised Kind = iota + 1
	// Accepted: it has accepted the value of Ballot.
	Accepted
	// Refused: it has promised Ballot, which is higher than the one asked for, or is the one asked for, promised to an
	// earlier process of the same node.
	Refused
	// Decided: the instance is over, and Value was chosen.
	Decided
	// Past: the instance is long over, and how it ended this acceptor does not know. Open is its present one.
	Past
	// Behind: the acceptor has yet to learn what was decided in instance Open, and until this one.
	Behind
)

func (k Kind) String() string {
	if names := [...]string{"", "promised", "accepted", "refused", "decided", "past", "behind"}; int(k) < len(names) && k > 0 {
		return names[k]
	}
	return "no kind of reply"
}

// Reply is an acceptor's answer to a proposer.
type Reply struct {
	Kind     Kind
	Instance uint64
	// Ballot is the one asked for; in a refusal the one that was promised.
	Ballot Ballot
	// Accepted is the highest ballot accepted before, in a promise. Zero if there was none.
	Accepted Ballot
	// Value was accepted at Accepted, or decided. The acceptor keeps it: nobody may change its bytes.
	Value []byte
	// Open is the acceptor's open instance, in Decided, Past and Behind.
	Open uint64
}
