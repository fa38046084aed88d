package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/starling-db/starling/client"
)

// command is a command line about an item, as a shell runs it: key, then value if there is one, then
// flags, those that repeat where the item was found before the given ones.
func (f *callFlags) command(verb string, key client.Key, value string, flags ...string) string {
	arguments := []string{shellWord(key.Partition)}
	if value != "" {
		arguments = append(arguments, value)
	}
	var where []string
	if f.app.addr != defaultAddr && f.app.addr != f.app.getenv("STARLING_ADDR") {
		where = append(where, "--addr", shellWord([]byte(f.app.addr)))
	}
	if f.bucket != defaultBucket {
		where = append(where, "-b", shellWord([]byte(f.bucket)))
	}
	if len(key.Sort) > 0 {
		where = append(where, "--sort", shellWord(key.Sort))
	}
	flags = append(where, flags...)
	words := append([]string{"starling", verb}, arguments...)
	words = append(words, flags...)
	if strings.HasPrefix(string(key.Partition), "-") {
		words = append([]string{"starling", verb}, flags...)
		words = append(append(words, "--"), arguments...)
	}
	return strings.Join(words, " ")
}

// resolution is the command that replaces the siblings of an item by one value.
func (f *callFlags) resolution(key client.Key, context client.Context) string {
	return f.command("put", key, "VALUE", "--context", context.String())
}

// shellWord quotes bytes for a shell: not at all if harmless, else in single quotes, or as $'...' when
// there is something that can't be seen.
func shellWord(b []byte) string {
	s := string(b)
	harmless, visible := s != "", utf8.Valid(b)
	for _, r := range s {
		harmless = harmless && isHarmless(r)
		visible = visible && unicode.IsPrint(r)
	}
	switch {
	case harmless:
		return s
	case visible:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	var quoted strings.Builder
	for _, c := range b {
		if c >= ' ' && c <= '~' && c != '\'' && c != '\\' {
			quoted.WriteByte(c)
		} else {
			fmt.Fprintf(&quoted, `\x%02x`, c)
		}
	}
	return "$'" + quoted.String() + "'"
}

// isHarmless reports whether no shell sees more in a character than itself.
func isHarmless(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	}
	return strings.ContainsRune("-_.,:/@%+=", r)
}
