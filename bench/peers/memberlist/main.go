// Command memberlist measures hashicorp/memberlist: rings of real members in this one process on
// loopback, and the cost of single packets. It prints one JSON object and ends by itself.
//
// It decides nothing about what is good: bench/peers/run.py puts the numbers beside ours. The
// measures have the names that bench/real_rings.py uses. micro.go holds the packet costs.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// report is what is printed: every measure is a list with one value per repetition.
type report struct {
	Peer     string               `json:"peer"`
	Version  string               `json:"version"`
	Runtime  string               `json:"runtime"`
	Profile  string               `json:"profile"`
	Settings map[string]any       `json:"settings"`
	Members  int                  `json:"members"`
	Measures map[string][]float64 `json:"measures"`
	Notes    []string             `json:"notes"`

	mutex sync.Mutex
}

func (r *report) add(name string, value float64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.Measures[name] = append(r.Measures[name], value)
}

func (r *report) note(format string, arguments ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.Notes = append(r.Notes, fmt.Sprintf(format, arguments...))
}

// print writes what there is and ends the process: at the deadline that is not everything.
func (r *report) print(code int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	out, err := json.Marshal(r)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Println(string(out))
	os.Exit(code)
}

// version names the release that was linked in, so that the report can't lie about it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, dependency := range info.Deps {
			if dependency.Path == "github.com/hashicorp/memberlist" {
				return dependency.Version
			}
		}
	}
	return "unknown"
}

// settings returns a profile of memberlist. "tuned" is LAN with the probe interval and its time-out
// scaled by one factor until a crash is known as soon as ours: every other rule, the confirmations
// of a suspicion among them, stays as it is.
func settings(profile string, scale float64) (*memberlist.Config, error) {
	switch profile {
	case "lan":
		return memberlist.DefaultLANConfig(), nil
	case "local":
		return memberlist.DefaultLocalConfig(), nil
	case "wan":
		return memberlist.DefaultWANConfig(), nil
	case "tuned":
		config := memberlist.DefaultLANConfig()
		config.ProbeInterval = time.Duration(float64(config.ProbeInterval) * scale)
		config.ProbeTimeout = time.Duration(float64(config.ProbeTimeout) * scale)
		return config, nil
	}
	return nil, fmt.Errorf("profile is %q, known are lan, local, wan, tuned", profile)
}

func main() {
	members := flag.Int("members", 100, "members of the ring, 2..1000")
	profile := flag.String("profile", "lan", "lan, local, wan or tuned")
	scale := flag.Float64("scale", 0.27, "tuned: factor on the probe interval and time-out")
	measures := flag.String("measure", "join,steady,crash,crash10,rumor", "what to measure: "+
		"join, steady, rumor, stalls, crash, crash10 (in this order), micro, sync")
	crashes := flag.Int("crashes", 3, "single crashes, one after the other")
	rumors := flag.Int("rumors", 5, "rumors of 256 bytes, one after the other")
	steady := flag.Duration("steady", 10*time.Second, "length of the window without events")
	stalls := flag.Duration("stalls", 90*time.Second, "stalls: how long")
	stalled := flag.Int("stalled", 4, "stalls: members whose receivers stop now and then")
	deadline := flag.Duration("deadline", 110*time.Second, "print what there is and end after this")
	port := flag.Int("port", 17946, "port of every member; addresses are 127.1.x.y")
	network := flag.Int("network", 1, "second byte of the members' addresses, 1..254")
	flag.Parse()

	config, err := settings(*profile, *scale)
	if err == nil && (*members < 2 || *members > 1000) {
		err = fmt.Errorf("members is %d, bounds are 2..1000", *members)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	result := &report{
		Peer: "memberlist", Version: version(), Runtime: runtime.Version(), Profile: *profile,
		Members: *members, Measures: map[string][]float64{}, Notes: []string{},
		Settings: map[string]any{
			"probe_interval_s":  config.ProbeInterval.Seconds(),
			"probe_timeout_s":   config.ProbeTimeout.Seconds(),
			"gossip_interval_s": config.GossipInterval.Seconds(), "gossip_nodes": config.GossipNodes,
			"suspicion_mult":     config.SuspicionMult,
			"suspicion_max_mult": config.SuspicionMaxTimeoutMult,
			"retransmit_mult":    config.RetransmitMult, "indirect_checks": config.IndirectChecks,
			"compression": config.EnableCompression,
		},
	}
	time.AfterFunc(*deadline, func() {
		result.note("ended by its deadline of %s", *deadline)
		result.print(3)
	})

	wanted := map[string]bool{}
	for _, name := range strings.Split(*measures, ",") {
		wanted[name] = true
	}
	if wanted["micro"] {
		measurePackets(result)
	}
	if wanted["sync"] {
		measureSync(result)
	}
	ring := []string{"join", "steady", "rumor", "stalls", "crash", "crash10"}
	if slices.ContainsFunc(ring, func(name string) bool { return wanted[name] }) {
		measureRing(result, config, ringOptions{
			members: *members, network: *network, port: *port,
			crashes: *crashes, rumors: *rumors, steady: *steady, wanted: wanted,
			stalls: *stalls, stalled: min(*stalled, *members/2),
		})
	}
	result.print(0)
}
