package storage

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Format is the version of everything that this package writes to disk. A directory of a higher one is
// refused.
const Format = 1

// Identity is who the node is: it lives with its data.
type Identity struct {
	// Format of the directory.
	Format uint64
	// NodeID is random, drawn when the directory was made.
	NodeID NodeID
	// Name is the node's name as last given; an attribute that may change.
	Name string
	// ClusterID is zero until Adopt.
	ClusterID [16]byte
	Cluster   string
}

// Adopted reports whether the node belongs to a cluster.
func (i Identity) Adopted() bool { return i.ClusterID != [16]byte{} }

// identityFile is the file's name; identityLimit bounds what is read of it.
const (
	identityFile  = "STARLING"
	identityLimit = 4096
	identityTitle = "starling data directory, written by the server: do not edit\n"
)

// identityRecord is the file: an identity, and whether the database beside it was ever complete. While it
// wasn't, a missing database is the trace of a crash at the first start; afterwards it is lost data.
type identityRecord struct {
	Identity
	Ready bool
}

// encode writes one field a line in a fixed order and a CRC-32C over all lines before it.
func (r identityRecord) encode() []byte {
	var b bytes.Buffer
	b.WriteString(identityTitle)
	fmt.Fprintf(&b, "format: %d\n", r.Format)
	fmt.Fprintf(&b, "node-id: %s\n", uuid.UUID(r.NodeID))
	fmt.Fprintf(&b, "node-name: %s\n", strconv.Quote(r.Name))
	fmt.Fprintf(&b, "cluster-id: %s\n", uuid.UUID(r.ClusterID))
	fmt.Fprintf(&b, "cluster-name: %s\n", strconv.Quote(r.Cluster))
	fmt.Fprintf(&b, "ready: %t\n", r.Ready)
	fmt.Fprintf(&b, "checksum: %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

// decodeIdentity is strict: it takes only what encode makes. The format is looked at first, so that a file
// of a newer version, whatever else it holds, is refused for that reason.
func decodeIdentity(path string, b []byte) (identityRecord, error) {
	damaged := func(detail string) (identityRecord, error) {
		return identityRecord{}, &IdentityError{Path: path, Detail: detail}
	}
	rest, ok := strings.CutPrefix(string(b), identityTitle)
	if !ok {
		return damaged("not a starling identity file")
	}
	var fields [7]string
	for i, name := range [7]string{"format", "node-id", "node-name", "cluster-id", "cluster-name", "ready", "checksum"} {
		line, tail, ok := strings.Cut(rest, "\n")
		if !ok {
			return damaged("the file is cut short")
		}
		if fields[i], ok = strings.CutPrefix(line, name+": "); !ok {
			return damaged(fmt.Sprintf("line %d is not %q", i+2, name))
		}
		if rest = tail; i > 0 {
			continue
		}
		format, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil || format == 0 {
			return damaged("unreadable format")
		}
		if format > Format {
			return identityRecord{}, &FormatError{Path: path, Found: format, Known: Format}
		}
	}
	r, err := identityOf(fields)
	if err != nil {
		return damaged(err.Error())
	}
	if !bytes.Equal(r.encode(), b) {
		return damaged("the checksum does not match")
	}
	return r, nil
}

func identityOf(fields [7]string) (identityRecord, error) {
	var r identityRecord
	r.Format, _ = strconv.ParseUint(fields[0], 10, 64)
	node, err := uuid.Parse(fields[1])
	if err != nil {
		return r, fmt.Errorf("node-id: %w", err)
	}
	cluster, err := uuid.Parse(fields[3])
	if err != nil {
		return r, fmt.Errorf("cluster-id: %w", err)
	}
	r.NodeID, r.ClusterID = NodeID(node), cluster
	if r.Name, err = strconv.Unquote(fields[2]); err != nil {
		return r, fmt.Errorf("node-name: %w", err)
	}
	if r.Cluster, err = strconv.Unquote(fields[4]); err != nil {
		return r, fmt.Errorf("cluster-name: %w", err)
	}
	r.Ready = fields[5] == "true"
	return r, nil
}
