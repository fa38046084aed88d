package sim

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// message is one between two nodes, as it is about to leave its sender.
type message struct {
	from, to place
	kind     string // of its request: Attest, CompareRoots and so on; Confirm for an Attest that only asks for the process
	answer   bool
	request  *pb.PeerRequest // nil in an answer
}

func (m message) String() string {
	if m.answer {
		return "the answer to " + m.kind
	}
	return m.kind
}

// fate is what becomes of what a node is about to send.
type fate int

const (
	goesOn fate = iota
	// breaks the connection: neither this nor anything else that is on its way arrives.
	breaks
)

// tap sees every message between nodes. It is called by the sender, which waits for it, and may crash either side.
type tap func(message) fate

// peerPort ends the addresses that nodes call one another at.
const peerPort = ":7401"

// tapped reads the messages out of what is written to one direction of a connection: HTTP/2 frames, the DATA of each stream in
// gRPC's framing, and in that frames of ours.
type tapped struct {
	from, to place
	see      tap

	mu      sync.Mutex
	raw     []byte            // less than an HTTP/2 frame
	streams map[uint32][]byte // less than a message
	// asked is for what goes out here, answers for what the other side asked.
	asked, answers *questions
}

// questions are the requests of one direction that were not answered yet, by stream and id.
type questions struct {
	mu    sync.Mutex
	kinds map[[2]uint64]string
}

func newQuestions() *questions { return &questions{kinds: map[[2]uint64]string{}} }

func (q *questions) add(stream uint32, id uint64, kind string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kinds[[2]uint64{uint64(stream), id}] = kind
}

// take forgets a request and says what it was about.
func (q *questions) take(stream uint32, id uint64) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := [2]uint64{uint64(stream), id}
	defer delete(q.kinds, at)
	return q.kinds[at]
}

// preface is what a client says before its first frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	frameHeader = 9
	dataFrame   = 0
	grpcHeader  = 5
)

func tapBoth(n *network, near, far *conn) {
	there, back := newQuestions(), newQuestions()
	near.tapped = &tapped{from: near.local, to: near.remote, see: n.tap, streams: map[uint32][]byte{}, asked: there, answers: back}
	far.tapped = &tapped{from: far.local, to: far.remote, see: n.tap, streams: map[uint32][]byte{}, asked: back, answers: there}
}

// wrote takes what is about to be written.
func (t *tapped) wrote(b []byte) fate {
	for _, m := range t.messages(b) {
		if f := t.see(m); f != goesOn {
			return f
		}
	}
	return goesOn
}

func (t *tapped) messages(b []byte) (out []message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.raw = append(t.raw, b...)
	if len(t.raw) >= len(preface) && string(t.raw[:len(preface)]) == preface {
		t.raw = t.raw[len(preface):]
	}
	for len(t.raw) >= frameHeader {
		size := int(t.raw[0])<<16 | int(t.raw[1])<<8 | int(t.raw[2])
		if len(t.raw) < frameHeader+size {
			break
		}
		if t.raw[3] == dataFrame {
			id := binary.BigEndian.Uint32(t.raw[5:])
			t.streams[id] = append(t.streams[id], t.raw[frameHeader:frameHeader+size]...)
			out = append(out, t.stream(id)...)
		}
		t.raw = t.raw[frameHeader+size:]
	}
	return out
}

// stream takes whole messages off a stream.
func (t *tapped) stream(id uint32) (out []message) {
	for {
		b := t.streams[id]
		if len(b) < grpcHeader {
			return out
		}
		end := grpcHeader + int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < end {
			return out
		}
		var f pb.Frame
		if proto.Unmarshal(b[grpcHeader:end], &f) == nil {
			out = append(out, t.frame(id, &f)...)
		}
		t.streams[id] = b[end:]
	}
}

func (t *tapped) frame(stream uint32, f *pb.Frame) (out []message) {
	for _, r := range f.GetRequests() {
		kind := kindOf(r)
		t.asked.add(stream, r.GetId(), kind)
		out = append(out, message{from: t.from, to: t.to, kind: kind, request: r})
	}
	for _, r := range f.GetReplies() {
		out = append(out, message{from: t.from, to: t.to, kind: t.answers.take(stream, r.GetId()), answer: true})
	}
	return out
}

func kindOf(r *pb.PeerRequest) string {
	if a := r.GetAttest(); a != nil && a.GetThrough() == 0 {
		return "Confirm"
	}
	_, kind, _ := strings.Cut(fmt.Sprintf("%T", r.GetBody()), "_")
	return kind
}
