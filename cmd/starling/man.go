package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages of all commands",
		Long: `Write a manual page for this binary and for each of its commands into a directory, which is made if it is not
there. What the pages say is what --help says. They are dated today, or as SOURCE_DATE_EPOCH says, so that a
build can be repeated.`,
		Example: `  starling man /usr/local/share/man/man1
  starling man ./man && man ./man/starling-put.1`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.writePages(args[0])
		},
	}
}

// writePages writes the pages of a command tree that has seen no environment: the settings of whoever makes the pages are
// no defaults.
func (a *app) writePages(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("man: %w", err)
	}
	bare := a.streams
	bare.environ = nil
	root := newApp(bare).rootCommand()
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Source: "Starling " + version, Manual: "Starling"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("man: %w", err)
	}
	a.note("Wrote the manual pages to %s.", dir)
	return nil
}
