package config

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// load writes the YAML to a file and loads it with the other two.
func load(t *testing.T, args, environ []string, yaml string) (Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	AddFlags(flags)
	flags.Bool("verbose", false, "a flag of the command itself")
	if err := flags.Parse(args); err != nil {
		return Config{}, err
	}
	path := ""
	if yaml != "" {
		path = filepath.Join(t.TempDir(), "starling.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(flags, environ, path)
}

func TestPrecedence(t *testing.T) {
	const yaml = "zone: from-file\nname: n1\n"
	env, flag := []string{"STARLING_ZONE=from-env"}, []string{"--zone=from-flag", "--verbose"}
	for _, c := range []struct {
		what          string
		args, environ []string
		yaml, want    string
	}{
		{"defaults", nil, nil, "", "default"},
		{"file", nil, nil, yaml, "from-file"},
		{"environment over file", nil, env, yaml, "from-env"},
		{"flag over environment and file", flag, env, yaml, "from-flag"},
		{"flag over defaults", flag, nil, "", "from-flag"},
		{"environment over defaults", nil, env, "", "from-env"},
		{"an empty variable is not set", nil, []string{"STARLING_ZONE="}, yaml, "from-file"},
		{"the last of two variables", nil, []string{"STARLING_ZONE=a", "STARLING_ZONE=b"}, "", "b"},
		{"a flag that says the default", []string{"--zone=default"}, env, yaml, "default"},
	} {
		got, err := load(t, c.args, c.environ, c.yaml)
		if err != nil || got.Zone != c.want {
			t.Errorf("%s: zone %q, error %v", c.what, got.Zone, err)
		}
	}
}

// Every key must mean the same in all three sources.
func TestEverySettingInEverySource(t *testing.T) {
	texts := map[string]string{
		"name": "n9", "dir": "/data", "zone": "z", "client-addr": "0.0.0.0:1", "peer-addr": "[::]:2", "gossip-addr": ":3",
		"http-addr": "localhost:4", "pprof": "on", "client-advertise": "h1:5", "peer-advertise": "h2", "gossip-advertise": "10.0.0.1:7",
		"join": "a:1,b:7402", "bootstrap-expect": "3", "cluster": "c", "partitions": "64", "max-value-bytes": "1MiB",
		"max-siblings": "7", "max-state-bytes": "2MiB", "max-clock-offset": "1s", "request-timeout": "3s",
		"slow-replica": "20ms", "hedge": "5ms", "max-in-flight": "9", "max-in-flight-bytes": "8MiB", "cache-bytes": "3MiB",
		"item-cache-bytes": "2MiB",
		"memtable-bytes":   "4MiB", "disk-reserve": "3MiB", "hint-bytes-per-target": "5MiB", "hint-bytes": "6MiB", "hint-rate": "7MiB",
		"repair-interval": "3m0s", "repair-rate": "9MiB", "repair-window": "22:00-06:00", "repair-max-slowdown": "2.5",
		"scrub-rate": "1MiB", "scrub-interval": "5h0m0s", "lag-warn": "5m0s", "lag-alarm": "6m0s",
		"log-level": "debug", "log-format": "json", "drain-timeout": "4s",
	}
	var args, environ []string
	var yaml strings.Builder
	for key, text := range texts {
		args = append(args, "--"+key+"="+text)
		environ = append(environ, envName(key)+"="+text)
		number := key == "bootstrap-expect" || key == "partitions" || key == "max-siblings" || key == "max-in-flight" || key == "repair-max-slowdown"
		if !number {
			text = `"` + text + `"`
		}
		yaml.WriteString(key + ": " + text + "\n")
	}
	fromFlags, err := load(t, args, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	fromEnv, err := load(t, nil, environ, "")
	if err != nil {
		t.Fatal(err)
	}
	fromFile, err := load(t, nil, nil, yaml.String())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromFlags, fromEnv) || !reflect.DeepEqual(fromFlags, fromFile) {
		t.Errorf("flags %+v\nenvironment %+v\nfile %+v", fromFlags, fromEnv, fromFile)
	}
	defaults := Default().Text()
	for i, pair := range fromFlags.Text() {
		if pair[1] != texts[pair[0]] || pair[1] == defaults[i][1] {
			t.Errorf("%s is %q, set to %q, default %q", pair[0], pair[1], texts[pair[0]], defaults[i][1])
		}
	}
	if len(defaults) != len(texts) || len(defaults) != reflect.TypeFor[Config]().NumField() {
		t.Errorf("%d settings, %d tested, %d fields", len(defaults), len(texts), reflect.TypeFor[Config]().NumField())
	}
}

func TestUnknownKeys(t *testing.T) {
	for _, c := range []struct {
		what, yaml string
		environ    []string
		key, near  string
	}{
		{"misspelt in the file", "clinet-addr: x\n", nil, "clinet-addr", "client-addr"},
		{"underscores in the file", "client_addr: x\n", nil, "client_addr", "client-addr"},
		{"nested in the file", "client:\n  addr: x\n", nil, "client.addr", "client-addr"},
		{"nothing like it", "colour: blue\n", nil, "colour", ""},
		{"misspelt variable", "", []string{"STARLING_CLINET_ADDR=x"}, "STARLING_CLINET_ADDR", "STARLING_CLIENT_ADDR"},
		{"variable in lower case", "", []string{"STARLING_zone=x"}, "STARLING_zone", "STARLING_ZONE"},
		{"variable of another sort", "", []string{"STARLING_PAINT=x"}, "STARLING_PAINT", ""},
		{"a port that is no setting", "", []string{"STARLING_CLIENT_PORT=7400"}, "STARLING_CLIENT_PORT", ""},
	} {
		_, err := load(t, nil, c.environ, c.yaml)
		var unknown *UnknownKeyError
		if !errors.As(err, &unknown) || unknown.Key != c.key || unknown.Nearest != c.near {
			t.Errorf("%s: %v (%+v)", c.what, err, unknown)
		}
		if c.near != "" && !strings.HasSuffix(err.Error(), "did you mean "+c.near+"?") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if _, err := load(t, []string{"--clinet-addr=x"}, nil, ""); err == nil {
		t.Error("unknown flag accepted")
	}
	kubernetes := []string{
		"STARLING_SERVICE_HOST=10.0.0.1", "STARLING_SERVICE_PORT=7400", "STARLING_SERVICE_PORT_CLIENT=7400",
		"STARLING_PORT=tcp://10.0.0.1:7400", "STARLING_PORT_7400_TCP=tcp://10.0.0.1:7400", "STARLING_PORT_7400_TCP_PROTO=tcp",
		"STARLING_PEERS_SERVICE_HOST=10.0.0.2", "STARLING_PEERS_PORT=tcp://10.0.0.2:7401",
	}
	if _, err := load(t, nil, kubernetes, ""); err != nil {
		t.Errorf("variables of Kubernetes: %v", err)
	}
	if _, err := load(t, nil, []string{"STARLING_ADDR=x:1", "NO_COLOR=1", "STARLING=1", "PATH=/bin"}, ""); err != nil {
		t.Errorf("variables of others: %v", err)
	}
}

func TestFileNamedByEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("zone: z9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(nil, []string{"STARLING_CONFIG=" + path}, "")
	if err != nil || c.Zone != "z9" {
		t.Errorf("zone %q, error %v", c.Zone, err)
	}
	if _, err := Load(nil, []string{"STARLING_CONFIG=/nowhere.yaml"}, ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load(nil, nil, t.TempDir()); err == nil {
		t.Error("a directory as a file")
	}
}

func TestYAMLTypes(t *testing.T) {
	c, err := load(t, nil, nil, "join:\n  - a:1\n  - b\nmax-value-bytes: 1024\npartitions: 8\nlog-level: WARN\nhedge: off\nzone:\n")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Join, []string{"a:1", "b:7402"}) || c.MaxValueBytes != 1024 || c.Partitions != 8 ||
		c.LogLevel != slog.LevelWarn || c.Hedge != (Hedge{}) || c.Zone != "default" {
		t.Errorf("%+v", c)
	}
	for yaml, want := range map[string]string{
		"name: 007\n":                          "name: 7 is no text: put it in quotes",
		"cluster: true\n":                      "cluster: true is no text",
		"request-timeout: 10\n":                "request-timeout: 10 is no duration",
		"max-value-bytes: 1.5\n":               "max-value-bytes: 1.5 is no bytes",
		"join: [1]\n":                          "join: entry 1, 1, is no text",
		"join: [\"a b:1\"]\n":                  `join: "a b:1" is no address`,
		"zone: a\nzone: b\n":                   "already defined",
		"- a\n":                                "cannot unmarshal",
		"zone: [a]\n":                          "zone: [a] is no text",
		"partitions: many\n":                   `partitions: "many" is no whole number`,
		"max-siblings: 99999999999999999999\n": "max-siblings",
	} {
		if _, err := load(t, nil, nil, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", yaml, err, want)
		}
	}
}

func TestErrorsNameTheirSource(t *testing.T) {
	_, err := load(t, nil, []string{"STARLING_CACHE_BYTES=lots", "STARLING_DRAIN_TIMEOUT=5"}, "hedge: maybe\n")
	for _, want := range []string{
		`STARLING_CACHE_BYTES: "lots" is no size: want a number with a unit, such as 64MiB`,
		`STARLING_DRAIN_TIMEOUT: "5" is no duration`,
		`starling.yaml: hedge: "maybe": want auto, off or a positive duration`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if _, err := load(t, []string{"--hint-rate=fast"}, nil, ""); err == nil || !strings.Contains(err.Error(), "--hint-rate") {
		t.Errorf("flag: %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := Default()
	good.Name = "n1"
	if err := good.Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for want, spoil := range map[string]func(*Config){
		"name: must not be empty":                     func(c *Config) { c.Name = "" },
		`name: "a b": ' ' is not allowed`:             func(c *Config) { c.Name = "a b" },
		"zone: ":                                      func(c *Config) { c.Zone = strings.Repeat("z", 65) },
		"cluster: must not":                           func(c *Config) { c.Cluster = "" },
		"dir: must not be empty":                      func(c *Config) { c.Dir = "" },
		"log-format: ":                                func(c *Config) { c.LogFormat = "xml" },
		`client-addr: "7400" is no address`:           func(c *Config) { c.ClientAddr = "7400" },
		"peer-addr: 127.0.0.1:7400 is client-addr":    func(c *Config) { c.PeerAddr = c.ClientAddr },
		`http-addr: "h:http" is no address: the port`: func(c *Config) { c.HTTPAddr = "h:http" },
		"peer-advertise: must be an address":          func(c *Config) { c.PeerAdvertise = "0.0.0.0:1" },
		`gossip-advertise: "h:0": the port`:           func(c *Config) { c.GossipAdvertise = "h:0" },
		`join: ":7402" can't be dialled`:              func(c *Config) { c.Join = []string{":7402"} },
		"bootstrap-expect: 3 nodes can't meet":        func(c *Config) { c.BootstrapExpect = 3 },
		"bootstrap-expect: -1":                        func(c *Config) { c.BootstrapExpect = -1 },
		"partitions: 100 is no power of two":          func(c *Config) { c.Partitions = 100 },
		"partitions: 0 is":                            func(c *Config) { c.Partitions = 0 },
		"max-value-bytes: 65MiB is not between":       func(c *Config) { c.MaxValueBytes = 65 << 20 },
		"max-state-bytes: 1MiB is not between 16MiB":  func(c *Config) { c.MaxStateBytes = 1 << 20 },
		"max-in-flight-bytes: ":                       func(c *Config) { c.MaxInFlightBytes = 1 },
		"max-in-flight: 0":                            func(c *Config) { c.MaxInFlight = 0 },
		"max-siblings: 0":                             func(c *Config) { c.MaxSiblings = 0 },
		"cache-bytes: ":                               func(c *Config) { c.CacheBytes = 0 },
		"memtable-bytes: ":                            func(c *Config) { c.MemTableBytes = 8 << 30 },
		"hint-rate: ":                                 func(c *Config) { c.HintRate = 0 },
		"repair-max-slowdown: 0.5 is neither":         func(c *Config) { c.RepairMaxSlowdown = 0.5 },
		"disk-reserve: ":                              func(c *Config) { c.DiskReserve = -1 },
		"lag-warn: -1s is not between":                func(c *Config) { c.LagWarn = -time.Second },
		"lag-alarm: 1h0m0s is below lag-warn, 2h0m0s": func(c *Config) { c.LagWarn, c.LagAlarm = 2*time.Hour, time.Hour },
		"request-timeout: -1s":                        func(c *Config) { c.RequestTimeout = -time.Second },
		"max-clock-offset: ":                          func(c *Config) { c.MaxClockOffset = time.Hour },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	two := good
	two.Dir, two.Partitions = "", 3
	if err := two.Validate(); !strings.Contains(err.Error(), "dir:") || !strings.Contains(err.Error(), "partitions:") {
		t.Errorf("one of two mistakes is missing: %v", err)
	}
	free := good
	free.ClientAddr, free.PeerAddr, free.GossipAddr, free.HTTPAddr = ":0", ":0", ":0", ":0"
	if err := free.Validate(); err != nil {
		t.Errorf("four free ports: %v", err)
	}
}

func TestNameDefaultsToTheHosts(t *testing.T) {
	c, err := Load(nil, nil, "")
	host, _ := os.Hostname()
	if err != nil || c.Name != host {
		t.Errorf("name %q, error %v", c.Name, err)
	}
}

type ifaddr string

func (a ifaddr) Network() string { return "ip+net" }
func (a ifaddr) String() string  { return string(a) }

func TestAdvertise(t *testing.T) {
	all := []net.Addr{ifaddr("127.0.0.1/8"), ifaddr("fe80::1/64"), ifaddr("203.0.113.5/24"), ifaddr("10.1.2.3/16"), ifaddr("192.168.0.9/24")}
	for _, c := range []struct {
		bound, override string
		addrs           []net.Addr
		want            string
	}{
		{"10.9.9.9:7401", "", all, "10.9.9.9:7401"},
		{"127.0.0.1:7401", "", all, "127.0.0.1:7401"},
		{"0.0.0.0:7401", "", all, "10.1.2.3:7401"},
		{"[::]:7401", "", all, "10.1.2.3:7401"},
		{":7401", "", all, "10.1.2.3:7401"},
		{"[::]:7401", "", all[:3], "203.0.113.5:7401"},
		{"[::]:7401", "", all[:2], "127.0.0.1:7401"},
		{"[::]:7401", "", all[1:2], ""},
		{"[::]:7401", "", []net.Addr{ifaddr("fd00::7/8")}, "[fd00::7]:7401"},
		{"0.0.0.0:7401", "db1.example", all, "db1.example:7401"},
		{"0.0.0.0:7401", "db1.example:9000", all, "db1.example:9000"},
		{"nonsense", "", all, ""},
	} {
		got, err := Advertise(c.bound, c.override, func() ([]net.Addr, error) { return c.addrs, nil })
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("bound %s, override %q: %q, %v, want %q", c.bound, c.override, got, err, c.want)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "512": 512, "512B": 512, "64KiB": 64 << 10, "64 kib": 64 << 10, "1.5GiB": 3 << 29, "10MB": 10e6, "2TiB": 2 << 40, "1tb": 1e12,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "B", "-1", "1.2.3", "0.5B", "1e3", "8EiB", "99999999999999999999", "9999999TiB", "MiB", "１MiB", strings.Repeat("1", 100)} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, s := range []string{"", "64MiB", "1.5 GiB", "-1", "1e9", "9223372036854775807", ".", "0.000000001tib"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBytes(s)
		if err != nil {
			return
		}
		if again, err := ParseBytes(b.String()); b < 0 || err != nil || again != b {
			t.Errorf("%q: %d, again %d, %v", s, b, again, err)
		}
	})
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{"zone: a", "join: [a, b]", "a: &x [*x]", "hedge: 10ms", "? {a: b}\n: c", "1: 2"} {
		f.Add(s)
	}
	path := filepath.Join(f.TempDir(), "c.yaml")
	f.Fuzz(func(t *testing.T, s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Load(nil, nil, path); err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("loaded what is not valid: %v", err)
			}
		}
	})
}

func TestLagLimits(t *testing.T) {
	for name, c := range map[string]struct {
		interval, warn, alarm time.Duration
		wantWarn, wantAlarm   time.Duration
	}{
		"defaults":                    {10 * time.Minute, 0, 24 * time.Hour, 30 * time.Minute, 24 * time.Hour},
		"as set":                      {10 * time.Minute, 2 * time.Second, 5 * time.Second, 2 * time.Second, 5 * time.Second},
		"an interval of seconds":      {time.Second, 0, 24 * time.Hour, time.Minute, 24 * time.Hour},
		"no rounds":                   {0, 0, 24 * time.Hour, 30 * time.Minute, 24 * time.Hour},
		"red is never before yellow":  {time.Hour, 0, time.Hour, 3 * time.Hour, 3 * time.Hour},
		"no rounds, but a limit":      {0, time.Hour, 2 * time.Hour, time.Hour, 2 * time.Hour},
		"an interval longer than red": {24 * time.Hour, 0, 24 * time.Hour, 72 * time.Hour, 72 * time.Hour},
	} {
		warn, alarm := Config{RepairInterval: c.interval, LagWarn: c.warn, LagAlarm: c.alarm}.LagLimits()
		if warn != c.wantWarn || alarm != c.wantAlarm {
			t.Errorf("%s: %v and %v, want %v and %v", name, warn, alarm, c.wantWarn, c.wantAlarm)
		}
	}
}
