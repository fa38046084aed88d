package main

import (
	"context"
	"fmt"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/starling-db/starling/client"
)

// completionTimeout bounds what a completion asks a cluster: whoever pressed the key waits for it.
const completionTimeout = time.Second

// choices completes a value that is one of a few, each with what it means behind a tab.
func choices(all ...cobra.Completion) cobra.CompletionFunc {
	return cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)
}

// files completes the name of a file.
func files(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// directories completes the name of a directory.
func directories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// eachArgument completes arguments by their place; those behind are not completed.
func eachArgument(functions ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) < len(functions) {
			return functions[len(args)](cmd, args, part)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// addCompletion makes the commands below root complete what they take, and adds the command that prints the scripts for
// shells. Flags of one name mean one thing in all commands, so they are completed by name.
func (a *app) addCompletion(root *cobra.Command) {
	levels := choices("one\t1 replica", "two\t2 replicas", "three\t3 replicas", "quorum\ta majority of N", "all\tall N")
	flags := map[string]cobra.CompletionFunc{
		"read": levels, "write": levels, "consistency": levels,
		"durability":   choices("sync\tafter an fsync", "memory\tat once: a crash may lose it"),
		"conflict":     choices("siblings\tkeep all concurrent writes", "lww\tkeep the last one"),
		"ttl":          choices("10m\tten minutes", "24h\ta day", noLifetime+"\tfor ever"),
		"output":       choices("table\tfor people", "json\tfor programs", "raw\tonly the data"),
		"siblings":     choices(siblingsError+"\tleave the item out", siblingsLatest+"\tthe version written last", siblingsAll+"\tall versions"),
		"hedge":        choices("auto\tby recent latency", "off\tnever"),
		"log-level":    choices("debug", "info", "warn", "error"),
		"log-format":   choices("text", "json"),
		"workload":     choices(benchChoices()...),
		"distribution": choices("zipfian\tfew items often", "uniform\tall alike", "latest\tthe newest often"),
		"bucket":       a.completeBuckets,
		"dir":          directories,
		"file":         files,
		"state":        files,
		"config":       cobra.FixedCompletions([]cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt),
	}
	arguments := map[string]cobra.CompletionFunc{
		"starling query":        eachArgument(a.completeBuckets),
		"starling scan":         eachArgument(a.completeBuckets),
		"starling export":       eachArgument(a.completeBuckets),
		"starling import":       eachArgument(a.completeBuckets, files),
		"starling bucket alter": eachArgument(a.completeBuckets),
		"starling bucket drop":  eachArgument(a.completeBuckets),
		"starling repair":       eachArgument(a.completeBuckets),
		"starling verify":       eachArgument(a.completeBuckets),
		"starling task show":    eachArgument(a.completeTasks),
		"starling task wait":    eachArgument(a.completeTasks),
		"starling task cancel":  eachArgument(a.completeTasks),
		"starling man":          eachArgument(directories),
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	addFlags := func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if complete, ok := flags[f.Name]; ok {
				_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // the flag is there, and new
			}
		})
	}
	addFlags(root)
	for _, cmd := range everyCommand(root)[1:] {
		addFlags(cmd)
		cmd.ValidArgsFunction = arguments[cmd.CommandPath()]
	}
	addScripts(root)
}

// everyCommand lists a command and all below it.
func everyCommand(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, everyCommand(sub)...)
	}
	return all
}

// addScripts adds cobra's completion command, with help texts that say what is special here.
func addScripts(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd, _, err := root.Find([]string{"completion"})
	if err != nil {
		return // not in this tree
	}
	cmd.Short = "Print the script that makes a shell complete commands"
	cmd.Long = `Print the script that makes a shell complete commands, flags, levels and other fixed choices and, from a cluster
that answers within a second, the names of buckets.`
	cmd.Example = `  source <(starling completion bash)`
	for _, sub := range cmd.Commands() {
		text, known := scriptHelp[sub.Name()]
		if !known {
			continue
		}
		sub.Short = "Print the completion script for " + sub.Name()
		sub.Long = sub.Short + ". " + text.long + "\n\nThe first example is for the shell that runs, the second for all later ones."
		sub.Example = text.example
	}
}

// scriptHelp is, by shell, what its script needs and how it is installed.
var scriptHelp = map[string]struct{ long, example string }{
	"bash": {"It needs the package bash-completion.", `  source <(starling completion bash)
  starling completion bash > /etc/bash_completion.d/starling`},
	"zsh": {"It needs completion to be on: autoload -U compinit; compinit.", `  source <(starling completion zsh)
  starling completion zsh > "${fpath[1]}/_starling"`},
	"fish": {"It goes where fish looks for completions.", `  starling completion fish | source
  starling completion fish > ~/.config/fish/completions/starling.fish`},
	"powershell": {"The profile is a good place for it.", `  starling completion powershell | Out-String | Invoke-Expression
  starling completion powershell >> $PROFILE`},
}

// complete asks the cluster for what may come next. Where none answers there is nothing to offer, and nothing to complain
// about on somebody's command line.
func (a *app) complete(cmd *cobra.Command, ask func(context.Context, *client.Client) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := a.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = c.Close() }() // it always succeeds
	offered, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return offered, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeBuckets(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(cmd, func(ctx context.Context, c *client.Client) (names []cobra.Completion, err error) {
		buckets, err := c.ListBuckets(ctx, a.callOptions()...)
		for _, b := range buckets {
			if onOneLine(b.Name) {
				names = append(names, cobra.CompletionWithDesc(b.Name, fmt.Sprintf("N=%d, %s", b.N, b.Conflict)))
			}
		}
		return names, err
	})
}

func (a *app) completeTasks(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ids, directive := a.complete(cmd, func(ctx context.Context, c *client.Client) (ids []cobra.Completion, err error) {
		tasks, err := c.Tasks(ctx, a.callOptions()...)
		if err != nil {
			return nil, err
		}
		for _, t := range tasks.Tasks {
			ids = append(ids, cobra.CompletionWithDesc(t.ID, t.Kind+", "+t.State.String()))
		}
		return ids, nil
	})
	return ids, directive | cobra.ShellCompDirectiveKeepOrder
}

// onOneLine says whether a name can be handed to a shell, line by line, with a tab behind it.
func onOneLine(name string) bool {
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
