package model

import (
	"fmt"
	"reflect"
)

// Rules are what the design demands, each a switch. The safe model has them all; a test takes one away
// at a time and must come upon lost or revived data.
type Rules struct {
	// Writes and their names.
	FreshActors        bool // a restarted process draws new actors
	ActorDiesWithHint  bool // a hint record that was dropped takes its actor along
	RememberRequestIDs bool // pasts and contexts name the request ids that were replaced
	MintWindow         bool // a put is minted only within the retry window of its request id
	StandInCounts      bool // a fallback's copy counts only in the place of an unreachable owner
	WholeStates        bool // what travels is the item's state, never a single version

	// Hints.
	HandoffExact          bool // an owner leaves a hint's targets only if it synced the present record
	FallbackClaimsNothing bool // a fallback claims nothing about what it lacks

	// Floors.
	ClaimsInMerges   bool // floors and purge levels take part in reads, repair and exchange
	FloorRefutes     bool // whose floor reaches the other side's purge level is believed in what it has
	FloorFromData    bool // a floor comes from a round or an exchange, never from gossip
	FloorAfterData   bool // a floor is durable only after the data it vouches for
	RefuseBelowFloor bool // a fresh write at or below the floor is refused, not acknowledged

	// Rebuilding.
	NoticePutBack      bool // a disk that is older than peers remember starts rebuilding
	RebuildingAbstains bool // a rebuilding owner does not attest
	RebuildingUnread   bool // a rebuilding owner does not count for reads
	RebuildFromAll     bool // rebuilding ends after an exchange with all other owners
	RebuildingDenies   bool // a rebuilding owner knows the purge level, and takes nothing old that it lacks
	RebuildAtOneLevel  bool // rebuilding begins anew when a source has purged further than its beginning knew

	// Rounds.
	AllAttest           bool // down guardians are waited for
	HintsBlockAttest    bool // a guardian with a hint up to T does not attest
	AttestLifts         bool // attesting lifts the clock to g
	AttestRefuses       bool // who has attested refuses fresh writes up to T
	AttestSurvives      bool // a restarted process still refuses up to what was attested, and to the watermark
	LowestFloorPurges   bool // the purge level is the lowest floor that an owner attested with
	AnyFloorAttests     bool // an owner whose floor is not the watermark yet attests all the same
	ExchangeAfterAttest bool // only exchanges begun after the last attestation count
	AllPairs            bool // every pair of owners is exchanged
	WholeExchange       bool // an exchange counts when all items of the partition went through
	VoidOnRestart       bool // a participant that was restarted voids the round
	RaiseByParticipant  bool // only the processes that took part raise their floors
	StartHearsAll       bool // a starting node learns the newest watermark and purge level, not just those of some peer
	StartLifts          bool // a starting node lifts its clock above the watermark

	// Purging.
	PurgeByWatermark   bool // not by wall clock
	PurgeBelowPrevious bool // at the watermark before the present one
	PurgeMargin        bool // a retry window and a clock offset below the level
	PurgeWholePast     bool // a past goes with its version's own dot, never single entries
}

// AllRules is the safe model.
func AllRules() Rules {
	var r Rules
	for v, i := reflect.ValueOf(&r).Elem(), 0; i < v.NumField(); i++ {
		v.Field(i).SetBool(true)
	}
	return r
}

// RuleNames lists the fields of Rules.
func RuleNames() []string {
	var names []string
	for t, i := reflect.TypeFor[Rules](), 0; i < t.NumField(); i++ {
		names = append(names, t.Field(i).Name)
	}
	return names
}

// Without is the safe model with some rules taken away.
func Without(names ...string) (Rules, error) {
	r := AllRules()
	for _, name := range names {
		f := reflect.ValueOf(&r).Elem().FieldByName(name)
		if !f.IsValid() {
			return Rules{}, fmt.Errorf("model: no rule is called %q", name)
		}
		f.SetBool(false)
	}
	return r, nil
}
