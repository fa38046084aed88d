package main

import (
	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) taskCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "task",
		Short: "List, show, await and cancel long operations of nodes",
		Long: `List, show, await and cancel long operations of nodes, such as repairs. A node carries a task out by itself,
whether or not anybody waits for it, and keeps the last hundred that have ended until it restarts. A restart ends
those that run, too. The name of a task begins with that of its node; any node can be asked about it.`,
		Example: `  starling task list
  starling task wait n1:mwr7ndj7`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return misused("task: say list, show, wait or cancel")
		},
	}
	cmd.AddCommand(a.taskListCommand(), a.taskShowCommand(), a.taskWaitCommand(), a.taskCancelCommand())
	return cmd
}

func (a *app) taskListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tasks of all nodes that answer",
		Long: `List the tasks of all nodes that answer, the one started last first. Nodes that don't answer are named on
stderr: their tasks are not shown.`,
		Example: `  starling task list
  starling task list --local -o json`,
		Args: cobra.NoArgs,
	}
	return ofNodes(a, cmd, (*client.Client).Tasks, a.showTasks)
}

func (a *app) taskShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a task: how far it has come, or what came of it",
		Long:    `Show a task: how far it has come, or what came of it. It ends with 5 if no node keeps a task of that name.`,
		Example: `  starling task show n1:mwr7ndj7`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				t, err := c.Task(cmd.Context(), args[0], a.callOptions()...)
				if err != nil {
					return err
				}
				return a.showTask(t)
			})
		},
	}
}

func (a *app) taskWaitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "wait ID",
		Short: "Wait for the end of a task, and show what came of it",
		Long: `Wait for the end of a task, and show what came of it. It ends with 1 if the task failed or was cancelled, and
with 5 if no node keeps a task of that name. Interrupting it does not end the task.`,
		Example: `  starling task wait n1:mwr7ndj7`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				t, err := a.awaitTask(cmd.Context(), c, args[0], func(t *client.Task) (int64, int64, string) {
					first := mainCounter(t)
					return first.Done, first.Total, countersText(t.Counters)
				})
				if err != nil {
					return err
				}
				if err := a.showTask(t); err != nil {
					return err
				}
				if t.State != client.TaskDone {
					return &silentError{code: exitFailed}
				}
				return nil
			})
		},
	}
}

func (a *app) taskCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "Ask a task to end",
		Long: `Ask a task to end. It may run on for a moment; what it has done stays done. A task that has ended already stays as
it is. It ends with 5 if no node keeps a task of that name.`,
		Example: `  starling task cancel n1:mwr7ndj7`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				t, err := c.CancelTask(cmd.Context(), args[0], a.callOptions()...)
				if err != nil {
					return err
				}
				if a.output == outputJSON {
					return a.writeJSON(newJSONTask(t))
				}
				if t.State == client.TaskRunning {
					a.note("The task is told to end.")
				} else {
					a.note("The task had ended already: %s.", t.State)
				}
				return nil
			})
		},
	}
}
