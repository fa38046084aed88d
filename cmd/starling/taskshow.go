package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/starling-db/starling/client"
)

// jsonTasks is a list of tasks in JSON.
type jsonTasks struct {
	Tasks []jsonTask `json:"tasks"`
	// Missing are nodes that did not answer.
	Missing []string `json:"missing"`
}

// jsonTask is a task in JSON. Parts are missing in a list.
type jsonTask struct {
	ID        string            `json:"id"`
	Kind      string            `json:"kind"`
	Node      string            `json:"node"`
	NodeID    string            `json:"node_id"`
	State     string            `json:"state"`
	Arguments map[string]string `json:"arguments"`
	Started   string            `json:"started"`
	Ended     string            `json:"ended,omitempty"`
	Progress  []jsonCounter     `json:"progress"`
	Parts     []jsonPart        `json:"parts,omitempty"`
	// PartsLeftOut are those for which there was no room.
	PartsLeftOut int    `json:"parts_left_out,omitempty"`
	Error        string `json:"error,omitempty"`
}

// jsonCounter has no total where nobody knows it.
type jsonCounter struct {
	Name  string `json:"name"`
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitempty"`
}

type jsonPart struct {
	Nodes    []string      `json:"nodes"`
	Counters []jsonCounter `json:"counters"`
	Error    string        `json:"error,omitempty"`
}

func newJSONTask(t *client.Task) jsonTask {
	out := jsonTask{
		ID: t.ID, Kind: t.Kind, Node: t.NodeName, NodeID: t.Node.String(), State: t.State.String(), Arguments: map[string]string{},
		Started: rfc3339(t.Started), Progress: newJSONCounters(t.Counters), PartsLeftOut: t.PartsLeftOut, Error: t.Error,
	}
	if !t.Ended.IsZero() {
		out.Ended = rfc3339(t.Ended)
	}
	for _, arg := range t.Arguments {
		out.Arguments[arg.Name] = arg.Value
	}
	for _, p := range t.Parts {
		out.Parts = append(out.Parts, jsonPart{Nodes: p.Nodes, Counters: newJSONCounters(p.Counters), Error: p.Error})
	}
	return out
}

func newJSONCounters(counters []client.TaskCounter) []jsonCounter {
	out := make([]jsonCounter, len(counters))
	for i, c := range counters {
		out[i] = jsonCounter(c)
	}
	return out
}

func (a *app) showTasks(tasks *client.Tasks) error {
	if len(tasks.Missing) > 0 {
		a.note("No answer from %s: their tasks are not shown.", strings.Join(tasks.Missing, ", "))
	}
	if a.output == outputJSON {
		out := jsonTasks{Tasks: make([]jsonTask, len(tasks.Tasks)), Missing: append([]string{}, tasks.Missing...)}
		for i := range tasks.Tasks {
			out.Tasks[i] = newJSONTask(&tasks.Tasks[i])
		}
		return a.writeJSON(out)
	}
	if len(tasks.Tasks) == 0 {
		fmt.Fprintln(a.stdout, "no tasks")
		return nil
	}
	t := newTable("TASK", "KIND", "STATE", "STARTED", "DONE", "TOLD")
	for _, one := range tasks.Tasks {
		t.add(one.ID, one.Kind, one.State.String(), rfc3339(one.Started), counterText(mainCounter(&one)), argumentsText(&one))
	}
	t.write(a.stdout, nil)
	return nil
}

// showTask writes all that is known of a task.
func (a *app) showTask(t *client.Task) error {
	if a.output == outputJSON {
		return a.writeJSON(newJSONTask(t))
	}
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(a.stdout, "%-9s %s\n", name, text)
		}
	}
	line("task", t.ID)
	line("kind", t.Kind)
	line("told", argumentsText(t))
	line("state", t.State.String())
	line("started", rfc3339(t.Started))
	if !t.Ended.IsZero() {
		line("ended", rfc3339(t.Ended)+" after "+ageText(max(t.Ended.Sub(t.Started), time.Millisecond)))
	}
	line("error", t.Error)
	for _, c := range t.Counters {
		line("", counterText(c)+" "+c.Name)
	}
	table := newTable("NODES", "DONE", "ERROR")
	for _, p := range t.Parts {
		table.add(strings.Join(p.Nodes, " with "), countersText(p.Counters), p.Error)
	}
	table.write(a.stdout, nil)
	if t.PartsLeftOut > 0 {
		fmt.Fprintf(a.stdout, "and %d more\n", t.PartsLeftOut)
	}
	return nil
}

// mainCounter is the one that tells best how far a task has come: the last of those that have an end, which is the finest.
func mainCounter(t *client.Task) (found client.TaskCounter) {
	for _, c := range t.Counters {
		if c.Total > 0 || found.Name == "" {
			found = c
		}
	}
	return found
}

func counterText(c client.TaskCounter) string {
	if c.Total == 0 {
		return strconv.FormatInt(c.Done, 10)
	}
	return fmt.Sprintf("%d of %d", c.Done, c.Total)
}

func countersText(counters []client.TaskCounter) string {
	texts := make([]string, 0, len(counters))
	for _, c := range counters {
		texts = append(texts, counterText(c)+" "+c.Name)
	}
	return strings.Join(texts, ", ")
}

func argumentsText(t *client.Task) string {
	texts := make([]string, len(t.Arguments))
	for i, arg := range t.Arguments {
		texts[i] = arg.Name + " " + arg.Value
	}
	return strings.Join(texts, ", ")
}
