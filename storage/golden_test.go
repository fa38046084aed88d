package storage

import (
	"encoding/hex"
	"testing"

	"github.com/starling-db/starling/causal"
)

// What is written here is on disks. A change of these bytes needs a new format number, and code that still
// reads the old one.
func TestGolden(t *testing.T) {
	k := Key{Bucket: 0x0102030405060708, Token: 0xF0F1F2F3F4F5F6F7, Partition: []byte("a\x00b"), Sort: []byte("s")}
	r := record{boot: 1, actor: 2, targets: []target{{node: node(9), kind: kindDebt, since: 3, epoch: 300}}}
	r.state = causal.State{Versions: []causal.Version{{
		Dot:       causal.Dot{Actor: 2, HLC: 7},
		RequestID: causal.RequestID{1},
		Value:     []byte("value"),
	}}}
	dbKey, hint := AppendKey(nil, k), appendHintKey(nil, node(9), 3, k)
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"key": {dbKey, "640102030405060708f0f1f2f3f4f5f6f76100ff620001730001"},
		"record": {appendRecord(nil, dbKey, &r), "010d133bfe00000000000000010000000000000002" +
			"0109000000000000000000000000000009020000000000000003ac02" +
			"0100010200000000000000020000000000000007010000000000000000000000000000000576616c7565"},
		"damaged record": {appendRecord(nil, dbKey, &record{damaged: true}), "02858ce67b0000000000000000000000000000000000010000"},
		"hint":           {hint, "680900000000000000000000000000000900000000000000030102030405060708f0f1f2f3f4f5f6f76100ff620001730001"},
		"value":          {appendHintValue(nil, hint, kindDebt, 300, 1000), "01644fa7e202ac02e807"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s is\n%s, not\n%s", name, got, c.want)
		}
	}
	id := identityRecord{Identity: Identity{Format: 1, NodeID: node(9), Name: "n1", ClusterID: node(8), Cluster: "c"}, Ready: true}
	const file = `starling data directory, written by the server: do not edit
format: 1
node-id: 09000000-0000-0000-0000-000000000009
node-name: "n1"
cluster-id: 08000000-0000-0000-0000-000000000008
cluster-name: "c"
ready: true
checksum: 048e8b7e
`
	if got := string(id.encode()); got != file {
		t.Errorf("the identity file is\n%s", got)
	}
}
