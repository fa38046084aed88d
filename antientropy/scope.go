package antientropy

import "context"

// Only restricts a plan to one bucket, of which there may be none in it; 0: to none.
func (p Plan) Only(bucket uint64) Plan {
	if bucket == 0 {
		return p
	}
	var shares []Share
	for _, s := range p.Shares {
		if only, ok := s.Only(bucket); ok {
			shares = append(shares, only)
		}
	}
	p.Shares = shares
	return p
}

// Only restricts a share to one bucket; false if that is not in it. 0 restricts it to none.
func (s Share) Only(bucket uint64) (Share, bool) {
	if bucket == 0 {
		return s, true
	}
	for i, b := range s.Buckets {
		if b == bucket {
			s.Buckets, s.Policies = s.Buckets[i:i+1:i+1], s.Policies[i:i+1:i+1]
			return s, true
		}
	}
	return s, false
}

// whole reports whether an exchange of this scope compares all that is shared, and mends it.
func (s Scope) whole() bool { return !s.Look && s.Partitions == nil && s.Bucket == 0 && s.N == 0 }

// stepCost is what a step costs beside the states that it moves, in bytes of them: a question, and reading what is compared.
const stepCost = 4 << 10

// step waits for its turn before the next piece of an exchange, and ends it when it is not to go on.
func (x *exchange) step(ctx context.Context) error {
	if x.pause == nil {
		return nil
	}
	cost := stepCost + x.Bytes - x.paid
	x.paid = x.Bytes
	return x.pause(ctx, cost)
}
