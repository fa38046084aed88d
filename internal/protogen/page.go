package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// preamble opens the page.
const preamble = `<!-- Generated from proto/starling/v1/*.proto by go generate ./proto. Do not edit. -->

# The gRPC interface

Clients speak gRPC to the client port of any node (7400 unless configured): the services **KV** and **Cluster**, beside
gRPC's own health checking and reflection. This page is made from the comments of the schema in
[proto/starling/v1](../proto/starling/v1). [client.md](client.md) is about the Go client, which does what a client of
this interface should do; [consistency.md](consistency.md) says what the levels and flags promise.

`

// order lists the files that readers look for first.
var order = []string{"kv.proto", "cluster.proto", "errors.proto"}

// page writes the documentation of all files in Markdown.
func page(files linker.Files) []byte {
	files = slices.Clone(files)
	rank := func(f linker.File) int {
		at := slices.Index(order, baseName(f))
		if at < 0 {
			return len(order)
		}
		return at
	}
	slices.SortStableFunc(files, func(a, b linker.File) int { return rank(a) - rank(b) })
	w := &writer{}
	w.WriteString(preamble)
	for _, f := range files {
		w.line("- [%s](#%s): %s", baseName(f), strings.ReplaceAll(baseName(f), ".", ""), firstUpper(syntaxComment(f)))
	}
	for _, f := range files {
		w.file(f)
	}
	return w.Bytes()
}

// writer collects the page. source is the file that is under way.
type writer struct {
	bytes.Buffer
	source linker.File
}

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *writer) file(f linker.File) {
	w.source = f
	w.line("\n## %s\n\n%s", baseName(f), syntaxComment(f))
	for i := range f.Services().Len() {
		w.service(f.Services().Get(i))
	}
	w.messages(f.Messages())
	w.enums(f.Enums())
}

func (w *writer) service(s protoreflect.ServiceDescriptor) {
	w.line("\n### Service %s\n\n%s", s.Name(), w.comment(s))
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		w.line("\n#### %s.%s\n", s.Name(), m.Name())
		w.line("%s(%s%s) returns (%s%s)\n\n%s", m.Name(), stream(m.IsStreamingClient()), w.link(m.Input()),
			stream(m.IsStreamingServer()), w.link(m.Output()), w.comment(m))
	}
}

func stream(yes bool) string {
	if yes {
		return "stream "
	}
	return ""
}

func (w *writer) messages(all protoreflect.MessageDescriptors) {
	for i := range all.Len() {
		m := all.Get(i)
		if m.IsMapEntry() {
			continue
		}
		w.line("\n### %s", nameIn(m))
		if c := w.comment(m); c != "" {
			w.line("\n%s", c)
		}
		if m.Fields().Len() > 0 {
			w.line("\n| field | type | number | meaning |\n| --- | --- | --- | --- |")
		}
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			w.line("| `%s` | %s | %d | %s |", f.Name(), w.typeOf(f), f.Number(), cell(w.comment(f)))
		}
		w.messages(m.Messages())
		w.enums(m.Enums())
	}
}

func (w *writer) enums(all protoreflect.EnumDescriptors) {
	for i := range all.Len() {
		e := all.Get(i)
		w.line("\n### %s", nameIn(e))
		if c := w.comment(e); c != "" {
			w.line("\n%s", c)
		}
		w.line("\n| name | number | meaning |\n| --- | --- | --- |")
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			w.line("| `%s` | %d | %s |", v.Name(), v.Number(), cell(w.comment(v)))
		}
	}
}

// typeOf is the type of a field, with what says how often it may be there.
func (w *writer) typeOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map of %s to %s", w.plainType(f.MapKey()), w.plainType(f.MapValue()))
	case f.IsList():
		return "repeated " + w.plainType(f)
	case f.HasOptionalKeyword():
		return "optional " + w.plainType(f)
	case f.ContainingOneof() != nil:
		return fmt.Sprintf("%s, one of `%s`", w.plainType(f), f.ContainingOneof().Name())
	}
	return w.plainType(f)
}

func (w *writer) plainType(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return w.link(f.Message())
	case f.Enum() != nil:
		return w.link(f.Enum())
	}
	return f.Kind().String()
}

// link is the name of a message or an enum, with a link to it if it is of ours.
func (w *writer) link(d protoreflect.Descriptor) string {
	if d.ParentFile().Package() != w.source.Package() {
		return string(d.FullName())
	}
	return fmt.Sprintf("[%s](#%s)", nameIn(d), strings.ToLower(strings.ReplaceAll(nameIn(d), ".", "")))
}

// comment is what stands above a declaration.
func (w *writer) comment(d protoreflect.Descriptor) string {
	return text(w.source.SourceLocations().ByDescriptor(d).LeadingComments)
}

// syntaxComment is what stands above the syntax of a file: what the file is about.
func syntaxComment(f linker.File) string {
	const syntax = 12 // the field of FileDescriptorProto
	return text(f.SourceLocations().ByPath(protoreflect.SourcePath{syntax}).LeadingComments)
}

// text is a comment as Markdown: without the blank that each line begins with, with an empty line above a list, and
// without HTML.
func text(comment string) string {
	var lines []string
	inList := false
	for line := range strings.SplitSeq(strings.TrimSpace(comment), "\n") {
		line = strings.TrimPrefix(strings.TrimRight(line, " "), " ")
		item := strings.HasPrefix(strings.TrimSpace(line), "- ")
		if item && !inList && len(lines) > 0 {
			lines = append(lines, "")
		}
		inList = item || inList && strings.HasPrefix(line, "  ")
		lines = append(lines, line)
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), "<", "&lt;")
}

// cell is a text for one cell of a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

// nameIn is a name as its package knows it: Outer.Inner.
func nameIn(d protoreflect.Descriptor) string {
	return strings.TrimPrefix(string(d.FullName()), string(d.ParentFile().Package())+".")
}

func baseName(f linker.File) string { return f.Path()[strings.LastIndexByte(f.Path(), '/')+1:] }

func firstUpper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
