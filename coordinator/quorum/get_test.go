package quorum

import (
	"slices"
	"testing"

	"github.com/starling-db/starling/causal"
)

var old, newer, join = digest(0), digest(1), digest(2)

func wantActions(t *testing.T, what string, got []Action, want ...Action) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s asks for %v, want %v", what, got, want)
	}
}

func wantGet(t *testing.T, g *Get, verdict GetVerdict, count Count, behind ...int) {
	t.Helper()
	if g.Verdict() != verdict || g.Count() != count || !slices.Equal(g.Behind(), behind) {
		t.Fatalf("%v %+v, behind %v; want %v %+v, behind %v", g.Verdict(), g.Count(), g.Behind(), verdict, count, behind)
	}
}

func startGet(t *testing.T, n, r, candidates int) *Get {
	t.Helper()
	g := NewGet(GetPlan{N: n, R: r, Candidates: candidates, Owners: candidates})
	want := []Action{{ReadFull, 0}}
	for place := 1; place < r; place++ {
		want = append(want, Action{ReadDigest, place})
	}
	wantActions(t, "start", g.Start(), want...)
	return g
}

func TestGetThatAgreesAsksNobodyElse(t *testing.T) {
	g := startGet(t, 3, 2, 3)
	wantActions(t, "an answer", g.Replied(1, false, newer))
	wantActions(t, "an answer", g.Replied(0, true, newer))
	wantGet(t, g, Agreed, Count{Required: 2, Received: 2, Live: 3})
}

func TestGetRepairsLateAnswersAfterTheReply(t *testing.T) {
	g := startGet(t, 3, 2, 3)
	wantActions(t, "a late place", g.Slow(1), Action{ReadFull, 2})
	g.Replied(0, true, newer)
	wantActions(t, "an answer", g.Replied(2, true, newer))
	wantGet(t, g, Agreed, Count{Required: 2, Received: 2, Live: 3})
	wantActions(t, "a late answer", g.Replied(1, false, old))
	wantGet(t, g, Agreed, Count{Required: 2, Received: 3, Live: 3}, 1)
}

func TestGetAgreesRoundOneThatDiffers(t *testing.T) {
	g := startGet(t, 3, 2, 3)
	g.Replied(0, true, newer)
	wantActions(t, "another digest", g.Replied(1, false, old), Action{ReadFull, 1})
	wantActions(t, "a late state", g.Slow(1), Action{ReadFull, 2})
	g.Replied(2, true, newer)
	wantGet(t, g, Agreed, Count{Required: 2, Received: 3, Live: 3}, 1)
	if g.Counts(1) || !g.Counts(2) || g.Counts(3) {
		t.Fatal("what was not agreed on counts")
	}
}

func TestGetWritesItsJoinBackBeforeItAnswers(t *testing.T) {
	g := startGet(t, 3, 2, 3)
	g.Replied(0, true, old)
	wantActions(t, "another digest", g.Replied(1, false, newer), Action{ReadFull, 1})
	wantActions(t, "a state, newer again", g.Replied(1, true, join))
	wantGet(t, g, Conflict, Count{Required: 2, Received: 2, Live: 3})
	wantActions(t, "the join", g.Join(join), Action{WriteBack, 0})
	wantGet(t, g, Conflict, Count{Required: 2, Received: 1, Live: 3})
	wantActions(t, "a write-back that failed", g.WriteFailed(0), Action{WriteBack, 2})
	g.Wrote(2)
	wantGet(t, g, Stable, Count{Required: 2, Received: 2, Live: 2})
}

func TestGetSaysSoWhenItsJoinMayVanish(t *testing.T) {
	g := startGet(t, 3, 2, 2)
	g.Replied(0, true, old)
	g.Replied(1, false, newer)
	g.Replied(1, true, newer)
	wantActions(t, "the join", g.Join(newer), Action{WriteBack, 0})
	wantActions(t, "a write-back that failed", g.WriteFailed(0))
	wantGet(t, g, ReadLost, Count{Required: 2, Received: 1, Live: 1})
}

// A read of few replicas must write to many: N=5, R=2, W=4.
func TestGetWritesToThoseItDidNotAsk(t *testing.T) {
	g := startGet(t, 5, 2, 5)
	g.Replied(0, true, old)
	g.Replied(1, false, newer)
	g.Replied(1, true, newer)
	wantActions(t, "the join", g.Join(join),
		Action{WriteBack, 0}, Action{WriteBack, 1}, Action{WriteBack, 2}, Action{WriteBack, 3})
}

func TestGetFetchesOneStateForEachDigest(t *testing.T) {
	g := startGet(t, 5, 3, 5)
	g.Replied(1, false, newer)
	g.Replied(2, false, newer)
	wantActions(t, "the third answer", g.Replied(0, true, old), Action{ReadFull, 1})
	wantActions(t, "a state that is late", g.Slow(1), Action{ReadFull, 2})
	wantActions(t, "a state that failed", g.Fail(1), Action{ReadFull, 3})
	g.Replied(2, true, newer)
	wantGet(t, g, ReadPending, Count{Required: 3, Received: 2, Live: 4})
	g.Replied(3, true, newer)
	wantGet(t, g, Conflict, Count{Required: 3, Received: 3, Live: 4})
}

func TestGetAsksTheNextForWhatFailed(t *testing.T) {
	g := startGet(t, 3, 2, 3)
	wantActions(t, "a lost state", g.Fail(0), Action{ReadFull, 2})
	wantActions(t, "a full read without the state", g.Replied(2, false, newer))
	wantGet(t, g, ReadLost, Count{Required: 2, Live: 1})
}

func TestGetReplacesAPlaceOnce(t *testing.T) {
	g := startGet(t, 5, 2, 5)
	wantActions(t, "a late place", g.Slow(1), Action{ReadFull, 2})
	wantActions(t, "its failure, replaced already", g.Fail(1))
}

func TestGetOfOneNeverWaits(t *testing.T) {
	g := startGet(t, 3, 1, 3)
	g.Replied(0, true, old)
	wantGet(t, g, Agreed, Count{Required: 1, Received: 1, Live: 3})
	wantActions(t, "a join without a conflict", g.Join(join))
}

func TestGetCountsFallbacks(t *testing.T) {
	g := NewGet(GetPlan{N: 3, R: 2, Candidates: 3, Owners: 1})
	g.Start()
	g.Replied(0, true, old)
	g.Replied(1, false, old)
	wantGet(t, g, Agreed, Count{Required: 2, Received: 2, Live: 3, Fallbacks: 1})
}

// A fallback has what it took in somebody's stead, and what the item held before is not that.
func TestGetTakesNoFallbacksWordThatThereIsNothing(t *testing.T) {
	var absent causal.Digest
	two := func() *Get {
		g := NewGet(GetPlan{N: 3, R: 2, Candidates: 3, Owners: 1})
		g.Start()
		wantActions(t, "a late owner", g.Slow(0), Action{ReadFull, 2})
		g.Replied(1, false, absent)
		wantActions(t, "a second fallback", g.Replied(2, true, absent))
		wantGet(t, g, ReadPending, Count{Required: 2, Received: 2, Live: 3, Fallbacks: 2})
		return g
	}
	g := two()
	g.Replied(0, true, old)
	wantGet(t, g, Conflict, Count{Required: 2, Received: 3, Live: 3, Fallbacks: 2})
	g = two()
	g.Replied(0, true, absent)
	wantGet(t, g, Agreed, Count{Required: 2, Received: 3, Live: 3, Fallbacks: 2})
	g = two()
	g.Fail(0)
	wantGet(t, g, ReadLost, Count{Required: 2, Received: 2, Live: 2, Fallbacks: 2})

	g = NewGet(GetPlan{N: 3, R: 1, Candidates: 3})
	g.Start()
	wantActions(t, "nothing", g.Replied(0, true, absent), Action{ReadFull, 1})
	wantActions(t, "nothing again", g.Replied(1, true, absent), Action{ReadFull, 2})
	g.Replied(2, true, newer)
	wantGet(t, g, Agreed, Count{Required: 1, Received: 3, Live: 3, Fallbacks: 3}, 0, 1)
}

func TestGetRefusal(t *testing.T) {
	if count, refused := (GetPlan{N: 3, R: 2, Candidates: 1}).Refusal(); !refused || count != (Count{Required: 2, Live: 1}) {
		t.Fatalf("%+v, refused %v", count, refused)
	}
	if _, refused := (GetPlan{N: 3, R: 2, Candidates: 2}).Refusal(); refused {
		t.Fatal("refused with R candidates")
	}
}
