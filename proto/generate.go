// Package proto holds the wire schema of Starling and the code generated from it. The generated
// package is proto/starling/v1.
package proto

//go:generate go run ../internal/protogen . ../docs/api.md
