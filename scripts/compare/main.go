// SPDX-License-Identifier: Apache-2.0

// Command compare measures bkp beside other programs on the same real files, one after the other in every round, and
// prints ratios with their spread. scripts/bench installs what it needs and runs it.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// step is one run of one program.
type step struct {
	Seconds, CPU float64 // wall; user and system of all its processes
	Memory       int64   // bytes at the peak
	Stored       int64   // bytes that its repository grew by
	Others       float64 // CPU seconds that other programs took meanwhile
}

// result keeps the steps of every round by what was done: input, step, tool.
type result map[[3]string][]step

var (
	work   = flag.String("work", "", "make inputs and repositories below `DIR`")
	bkp    = flag.String("bkp", "./bkp", "the binary to measure")
	rounds = flag.Int("rounds", 3, "measure everything so many times")
	only   = flag.String("inputs", "tree,noise,image", "measure these `INPUTS`")
	names  = flag.String("tools", "disk,cp,restic,restic-off,borg,casync,bkp,bkp-norecheck,bkp-off",
		"measure these `TOOLS`")
	out    = flag.String("out", "build/bench", "write table.md and plot.png into `DIR`")
	more   = flag.Bool("add", false, "add to the rounds that the last run left in -out")
	making = flag.String("make", "", "make this `INPUT` and nothing else")
	touch  = flag.Int64("touch", 0, "touch so many `bytes` of free memory, and do nothing else")
	gib    = flag.Int("noise-gib", 2, "so many GiB of incompressible data")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal("compare: ", err)
	}
}

func run() error {
	dir, err := filepath.Abs(*work)
	if err != nil {
		return err
	}
	binary, err := filepath.Abs(*bkp)
	if err != nil {
		return err
	}
	if *touch > 0 {
		return touchMemory(*touch)
	}
	if *making != "" {
		_, _, err := makeInput(dir, *making)
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	results := result{}
	steps := filepath.Join(*out, "steps.json")
	if *more {
		if err := results.load(steps); err != nil {
			return err
		}
	}
	inputs := strings.Split(*only, ",")
	for _, input := range inputs {
		log.Printf("making %s", input)
		// In a process of its own: what a program takes at its peak counts from the memory of the one that started it.
		c := exec.Command(os.Args[0], "-work", dir, "-noise-gib", fmt.Sprint(*gib), "-make", input)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("make %s: %w: %s", input, err, out)
		}
		first, second, err := makeInput(dir, input)
		if err != nil {
			return fmt.Errorf("make %s: %w", input, err)
		}
		for round := range *rounds {
			for _, name := range strings.Split(*names, ",") {
				if err := results.quiet(dir, binary, input, name, first, second); err != nil {
					return fmt.Errorf("%s on %s, round %d: %w", name, input, round+1, err)
				}
			}
			if err := results.save(steps); err != nil { // a run that is stopped can be added to
				return err
			}
		}
	}
	inputs = slices.DeleteFunc([]string{"tree", "noise", "image"},
		func(input string) bool { return !results.has(input) })
	text := results.table(inputs) + results.judge()
	fmt.Print(text)
	if err := os.WriteFile(filepath.Join(*out, "table.md"), []byte(text), 0o644); err != nil {
		return err
	}
	return results.plot(inputs, filepath.Join(*out, "plot.png"))
}

// disturbed reports whether others took so much of the machine that the time says little.
func (s step) disturbed() bool { return s.Others > 0.1*s.Seconds*float64(runtime.NumCPU()) }

// quiet measures a tool, again where it was disturbed, and keeps the last of three tries whatever it was.
func (r result) quiet(dir, binary, input, name, first, second string) error {
	for try := 1; ; try++ {
		one := result{}
		if err := one.measure(dir, binary, input, name, first, second); err != nil {
			return err
		}
		again := false
		for _, steps := range one {
			again = again || slices.ContainsFunc(steps, step.disturbed)
		}
		if again && try < 3 {
			log.Printf("%-6s %-8s %-14s others were busy: once more", input, "", name)
			continue
		}
		for key, steps := range one {
			r[key] = append(r[key], steps...)
		}
		return nil
	}
}

// measure runs one tool through first backup, second and restore, each with warm caches and an idle disk.
func (r result) measure(dir, binary, input, name, first, second string) error {
	repository, restored := filepath.Join(dir, "repository"), filepath.Join(dir, "restored")
	for _, path := range []string{repository, restored} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	defer os.RemoveAll(repository)
	defer os.RemoveAll(restored)
	if err := os.MkdirAll(restored, 0o700); err != nil {
		return err
	}
	t, err := toolNamed(name, binary, repository, restored)
	if err != nil {
		return err
	}
	if t.prepare != "" {
		if _, err := t.run(t.prepare, "", ""); err != nil {
			return err
		}
	}
	before := bytesBelow(repository)
	for _, do := range []struct{ step, script, input, warm string }{
		{"first", t.backup, first, first}, {"second", t.backup, second, second},
		{"restore", t.restore, second, repository},
	} {
		if do.input == "" {
			continue // there is no changed version of it
		}
		if do.step == "restore" && second == "" {
			do.input = first
		}
		if err := warm(do.warm, do.input); err != nil {
			return err
		}
		version := map[string]string{"first": "1", "second": "2", "restore": "2"}[do.step]
		if second == "" {
			version = "1"
		}
		s, err := t.run(do.script, do.input, version)
		if err != nil {
			return fmt.Errorf("%s: %w", do.step, err)
		}
		now := bytesBelow(repository)
		s.Stored, before = now-before, now
		key := [3]string{input, do.step, name}
		r[key] = append(r[key], s)
		log.Printf("%-6s %-8s %-14s %6.2f s %6.2f s CPU (others %.2f s) %5d MiB peak %6d MiB stored", input, do.step,
			name, s.Seconds, s.CPU, s.Others, s.Memory>>20, s.Stored>>20)
		if do.step == "restore" {
			return same(do.input, restored)
		}
	}
	if err := warm(repository, first); err != nil {
		return err
	}
	s, err := t.run(t.restore, first, "1")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	key := [3]string{input, "restore", name}
	r[key] = append(r[key], s)
	return same(first, restored)
}

// warm makes everybody begin alike: it touches as much free memory as a step with this input can want, in a process of
// its own, reads all below path into the page cache and waits for the disk.
func warm(path, input string) error {
	want := 2*bytesBelow(input) + 1<<30
	if out, err := exec.Command(os.Args[0], "-touch", fmt.Sprint(want)).CombinedOutput(); err != nil {
		return fmt.Errorf("touch memory: %w: %s", err, out)
	}
	filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			_ = exec.Command("sh", "-c", `cat "$0" >/dev/null`, p).Run()
		}
		return nil
	})
	syscall.Sync()
	return nil
}

// same holds what was restored against the input: the only file below dir.
func same(input, dir string) error {
	var found string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = p
		}
		return err
	})
	if err != nil {
		return err
	}
	if out, err := exec.Command("cmp", input, found).CombinedOutput(); err != nil {
		return fmt.Errorf("restored something else: %s", out)
	}
	return nil
}

func bytesBelow(dir string) (sum int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// tool is a program as shell scripts: $1 is the file, $2 the version, $R the repository, $O a directory for what is
// restored.
type tool struct {
	prepare, backup, restore string
	env                      []string
}

func toolNamed(name, binary, repository, restored string) (tool, error) {
	t, ok := map[string]tool{
		"disk": {"mkdir -p $R", `dd if="$1" of=$R/$2 bs=4M oflag=direct conv=fsync status=none`,
			`dd if=$R/$2 of=$O/file bs=4M oflag=direct conv=fsync status=none`, nil},
		"cp": {"mkdir -p $R", `cp "$1" $R/$2 && sync $R/$2`, `cp $R/$2 $O/file && sync $O/file`, nil},
		"restic": {"restic init -q -r $R", `restic backup -q -r $R --no-cache --tag v$2 "$1"`,
			`restic restore -q -r $R --no-cache --tag v$2 latest --target $O`, nil},
		"restic-off": {"restic init -q -r $R", `restic backup -q -r $R --no-cache --compression off --tag v$2 "$1"`,
			`restic restore -q -r $R --no-cache --tag v$2 latest --target $O`, nil},
		"borg": {"borg init -e repokey-blake2 $R", `borg create $R::v$2 "$1"`, `cd $O && borg extract $R::v$2`,
			nil},
		"casync": {"mkdir -p $R", `casync make --store=$R/store $R/v$2.caibx "$1" >/dev/null`,
			`casync extract --store=$R/store $R/v$2.caibx $O/file`, nil},
		"bkp":           {"", `$BKP split -q "$1" --name f`, `$BKP fetch -q f@$2 -o $O/file`, nil},
		"bkp-norecheck": {"", `$BKP split -q --no-recheck "$1" --name f`, `$BKP fetch -q f@$2 -o $O/file`, nil},
		"bkp-off":       {"", `$BKP split -q --compression off "$1" --name f`, `$BKP fetch -q f@$2 -o $O/file`, nil},
	}[name]
	if !ok {
		return t, fmt.Errorf("no such tool")
	}
	t.env = append(os.Environ(), "R="+repository, "O="+restored, "BKP="+binary, "BKP_DATA="+repository,
		"RESTIC_PASSWORD=benchmark", "BORG_PASSPHRASE=benchmark", "BORG_BASE_DIR="+repository+".borg",
		"BORG_RELOCATED_REPO_ACCESS_IS_OK=yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes")
	return t, nil
}

func (t tool) run(script, file, version string) (s step, err error) {
	c := exec.Command("sh", "-ec", script, "sh", file, version)
	c.Env = t.env
	before := busy()
	began := time.Now()
	text, err := c.CombinedOutput()
	s.Seconds = time.Since(began).Seconds()
	if err != nil {
		return s, fmt.Errorf("%s: %w: %s", script, err, text)
	}
	used := c.ProcessState.SysUsage().(*syscall.Rusage)
	s.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	s.Memory = used.Maxrss << 10
	s.Others = max(busy()-before-s.CPU, 0)
	return s, nil
}

// median of what of picks out of the steps.
func median(steps []step, of func(step) float64) float64 {
	var all []float64
	for _, s := range steps {
		all = append(all, of(s))
	}
	return middle(all)
}

func middle(all []float64) float64 {
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return (all[len(all)/2] + all[(len(all)-1)/2]) / 2
}

func seconds(s step) float64 { return s.Seconds }

// has reports whether anything was measured with this input.
func (r result) has(input string) bool {
	for key := range r {
		if key[0] == input {
			return true
		}
	}
	return false
}

func (r result) table(inputs []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %s; medians of interleaved rounds. × restic and × borg: how many times as fast, with the least and\n"+
		"the most of all rounds. disk is dd past the page cache, synced: what this disk writes, whoever asks. Before every step twice\n"+
		"the input's size of free memory is touched, since a virtual machine's first touch costs up to eight times as much as later ones,\n"+
		"its input (for restore: the repository) is read into the page cache with cat, and the disk is synced; every tool writes into a fresh repository and to a file that was not there. Rounds of a tool in which other programs\n"+
		"took more than a tenth of the machine are measured again, twice at most.\n\n",
		processor(), runtime.NumCPU(), time.Now().Format("2 January 2006"))
	b.WriteString("| input | step | tool | seconds | CPU s | peak MiB | stored MiB | rounds | × restic | × borg |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, input := range inputs {
		for _, do := range []string{"first", "second", "restore"} {
			for _, name := range strings.Split(*names, ",") {
				steps := r[[3]string{input, do, name}]
				if len(steps) == 0 {
					continue
				}
				restic := "restic"
				if name == "bkp-off" {
					restic = "restic-off"
				}
				stored := fmt.Sprintf("%.0f", median(steps, func(s step) float64 { return float64(s.Stored) })/(1<<20))
				if do == "restore" {
					stored = ""
				}
				fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %.2f | %.0f | %s | %d | %s | %s |\n", input, do, name,
					median(steps, seconds),
					median(steps, func(s step) float64 { return s.CPU }),
					median(steps, func(s step) float64 { return float64(s.Memory) })/(1<<20),
					stored, len(steps), spread(r.ratios(input, do, name, restic, seconds)),
					spread(r.ratios(input, do, name, "borg", seconds)))
			}
		}
	}
	return b.String()
}

// processor is the machine's, as it calls itself.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return cmp.Or(os.Getenv("HOSTTYPE"), runtime.GOARCH)
}

// busy is the CPU seconds that all programs have taken since the machine started; 0 where it does not say.
func busy() float64 {
	text, _ := os.ReadFile("/proc/stat")
	var user, nice, system float64
	if n, _ := fmt.Sscanf(string(text), "cpu %f %f %f", &user, &nice, &system); n < 3 {
		return 0
	}
	return (user + nice + system) / 100
}
