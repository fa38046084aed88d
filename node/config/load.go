package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// EnvPrefix begins the name of every environment variable that Load reads.
const EnvPrefix = "STARLING_"

// EnvFile names the configuration file when Load is given none.
const EnvFile = EnvPrefix + "CONFIG"

// foreign are variables with our prefix that are no settings of a node.
var foreign = []string{EnvFile, EnvPrefix + "ADDR"}

// serviceLink matches the variables that Kubernetes gives to every pod beside a service called starling or
// starling-something. They are no misspelt settings, and nobody there can help that they exist.
var serviceLink = regexp.MustCompile(
	`^STARLING(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)=` +
		`|^STARLING(_[A-Z0-9_]+)?_PORT=(tcp|udp)://`)

// noDelim keeps koanf from splitting keys: settings are flat, and a dot in a key is a mistake to be named
// as it was written.
const noDelim = "\x00"

// maxFileBytes bounds the configuration file: one given by mistake is not worth reading.
const maxFileBytes = 1 << 20

// layer is one source of settings, with the way it spells a key.
type layer struct {
	values *koanf.Koanf
	spell  func(key string) string
	// where is what an error about the source as a whole begins with.
	where string
}

// Load reads the settings: flags (those of AddFlags that were given; nil: none) over env ("KEY=value", as
// os.Environ gives them) over file (a YAML file; empty: what STARLING_CONFIG in env names, if anything)
// over Default, and validates the result. An environment variable set to nothing counts as not set.
// The error lists everything that is wrong, and where.
func Load(flags *pflag.FlagSet, environ []string, path string) (Config, error) {
	c := Default()
	environment, err := envLayer(environ)
	if err != nil {
		return Config{}, err
	}
	if path == "" {
		path = lookup(environ, EnvFile)
	}
	layers := []layer{}
	if path != "" {
		l, err := fileLayer(path)
		if err != nil {
			return Config{}, err
		}
		layers = append(layers, l)
	}
	layers = append(layers, environment, flagLayer(flags))

	var wrong []error
	for _, l := range layers {
		wrong = append(wrong, l.apply(&c)...)
	}
	if c.Name == "" {
		if host, err := os.Hostname(); err == nil {
			c.Name = host
		}
	}
	if len(wrong) == 0 {
		return c, c.Validate()
	}
	return Config{}, errors.Join(wrong...)
}

// apply sets what the layer says, and returns one error for each key that can't be.
func (l layer) apply(c *Config) []error {
	if l.values == nil {
		return nil
	}
	var wrong []error
	for _, key := range slices.Sorted(slices.Values(l.values.Keys())) {
		s, known := byKey[key]
		if !known {
			wrong = append(wrong, l.unknown(key))
			continue
		}
		v := l.values.Get(key)
		if v == nil {
			continue // "key:" with nothing behind it
		}
		text, err := s.yamlText(v)
		if err == nil {
			err = s.bind(c).set(text)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s%s: %w", l.where, l.spell(key), err))
		}
	}
	return wrong
}

func (l layer) unknown(key string) error {
	e := &UnknownKeyError{Source: l.where, Key: l.spell(key)}
	if best := nearest(key); best != "" {
		e.Nearest = l.spell(best)
	}
	return e
}

// UnknownKeyError is a key that no setting has.
type UnknownKeyError struct {
	// Source is "" for the environment, the file's name and a colon otherwise.
	Source string
	// Key as it was written; Nearest is the known key that it resembles most, or empty.
	Key, Nearest string
}

func (e *UnknownKeyError) Error() string {
	msg := fmt.Sprintf("%sunknown setting %s", e.Source, clip(e.Key))
	if e.Nearest != "" {
		msg += ": did you mean " + e.Nearest + "?"
	}
	return msg
}

func fileLayer(path string) (layer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return layer{}, fmt.Errorf("configuration file: %w", err)
	}
	if info.Size() > maxFileBytes {
		return layer{}, fmt.Errorf("configuration file %s has %d bytes, more than the %d that one may have", path, info.Size(), maxFileBytes)
	}
	k := koanf.New(noDelim)
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		return layer{}, fmt.Errorf("configuration file %s: %w", path, err)
	}
	return layer{values: k, where: path + ": ", spell: func(key string) string {
		return strings.ReplaceAll(key, noDelim, ".")
	}}, nil
}

func envLayer(environ []string) (layer, error) {
	k := koanf.New(noDelim)
	err := k.Load(env.Provider(noDelim, env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, v string) (string, any) {
			if v == "" || slices.Contains(foreign, name) || serviceLink.MatchString(name+"="+v) {
				return "", nil
			}
			return envKey(name), v
		},
	}), nil)
	if err != nil {
		return layer{}, fmt.Errorf("environment: %w", err)
	}
	return layer{values: k, spell: envName}, nil
}

// flagLayer takes the flags that were given; they were parsed, so their text forms are valid.
func flagLayer(flags *pflag.FlagSet) layer {
	if flags == nil {
		return layer{}
	}
	given := map[string]any{}
	flags.Visit(func(f *pflag.Flag) {
		if _, ours := byKey[f.Name]; ours { // others belong to the command
			given[f.Name] = f.Value.String()
		}
	})
	k := koanf.New(noDelim)
	if err := k.Load(confmap.Provider(given, noDelim), nil); err != nil {
		panic(err) // confmap only copies
	}
	return layer{values: k, spell: func(key string) string { return "--" + key }}
}

// envKey and envName map STARLING_CLIENT_ADDR to client-addr and back. A variable that is not all upper
// case keeps its spelling, so that it is unknown and named as it is.
func envKey(name string) string {
	rest := strings.TrimPrefix(name, EnvPrefix)
	if rest != strings.ToUpper(rest) || strings.Contains(rest, "-") {
		return name
	}
	return strings.ReplaceAll(strings.ToLower(rest), "_", "-")
}

func envName(key string) string {
	if strings.HasPrefix(key, EnvPrefix) {
		return key
	}
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

func lookup(environ []string, name string) string {
	for _, pair := range slices.Backward(environ) { // the last one counts, as in a shell
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			return v
		}
	}
	return ""
}

// nearest returns the known key that key most resembles, or "" when none is near: more than a third of
// the letters would have to change.
func nearest(key string) string {
	key = strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(key, EnvPrefix), "_", "-"))
	if len(key) > maxSizeText {
		return ""
	}
	best, least := "", len(key)/3+1
	for _, s := range settings {
		if d := distance(key, s.key); d < least {
			best, least = s.key, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and replacements that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
