package node

import "testing"

// blobs is a store of documents.
type blobs map[string][]byte

func (b blobs) SetMeta(name string, value []byte) error { b[name] = value; return nil }
func (b blobs) Meta(name string) ([]byte, error)        { return b[name], nil }

// TestAbstaining: a node that may have forgotten promises takes no part before a majority has told its epochs and two more
// than the highest of them are decided, whatever comes between.
func TestAbstaining(t *testing.T) {
	disk := blobs{}
	var a abstaining
	restart := func() {
		t.Helper()
		a = abstaining{}
		if err := a.load(disk); err != nil {
			t.Fatal(err)
		}
	}
	highest, known := uint64(0), false
	heard := func() (uint64, bool) { return highest, known }
	want := func(what string, epoch uint64, abstains bool) {
		t.Helper()
		if got := a.during(disk, epoch, heard); got != abstains {
			t.Errorf("%s: abstains %v at epoch %d", what, got, epoch)
		}
	}
	restart()
	want("at first", 3, false)
	if err := a.begin(disk); err != nil {
		t.Fatal(err)
	}
	want("nobody has told", 9, true)
	restart()
	want("nobody has told, after a restart", 9, true)
	highest, known = 4, true
	want("a majority has told", 3, true)
	known, highest = false, 0
	restart()
	want("one was decided", 5, true)
	want("two were decided", 6, false)
	disk[abstainDocument] = []byte("short")
	if err := (&abstaining{}).load(disk); err == nil {
		t.Error("a damaged document was taken")
	}
}
