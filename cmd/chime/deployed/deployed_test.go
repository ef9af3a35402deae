// Package deployed checks the files in deploy as those do who read them: Compose by its
// schema, Kubernetes by its types. It is a module of its own, for what that takes.
package deployed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const deploy = "../../../deploy"

// compose loads a compose file, which has to be as its schema says, and consistent.
func compose(file string) (*types.Project, error) {
	o, err := cli.NewProjectOptions([]string{file}, cli.WithoutEnvironmentResolution)
	if err != nil {
		return nil, err
	}
	return o.LoadProject(context.Background())
}

func TestTheComposeFileIsOne(t *testing.T) {
	p, err := compose(filepath.Join(deploy, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	nodes := 0
	for name, s := range p.Services {
		if !strings.HasPrefix(name, "node") {
			continue
		}
		nodes++
		at := slices.Index(s.Command, "--node")
		if at < 0 || s.Command[at+1] != "http://"+name+":4000" || s.Hostname != name {
			t.Errorf("%s: got the command %q on %s, want that others reach it by its name", name, s.Command, s.Hostname)
		}
		secret := slices.Index(s.Command, "--secret-file")
		if secret < 0 || len(s.Secrets) != 1 || s.Command[secret+1] != "/run/secrets/"+s.Secrets[0].Source {
			t.Errorf("%s: got the command %q with the secrets %v", name, s.Command, s.Secrets)
		}
		if s.StopGracePeriod == nil || s.StopGracePeriod.String() != "20s" || s.DependsOn["redis"].Condition != types.ServiceConditionHealthy {
			t.Errorf("%s: got %v and %v", name, s.StopGracePeriod, s.DependsOn)
		}
		if _, err := os.Stat(filepath.Join(s.Build.Context, "Dockerfile")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if nodes != 3 {
		t.Errorf("got %d nodes, want 3", nodes)
	}
}

func TestABrokenComposeFileIsNone(t *testing.T) {
	breaks(t, "compose.yaml", map[string]string{
		"depends_on:":         "depend_on:",
		"- chime-secret":      "- secret",
		"interval: 2s":        "interval: soon",
		"    redis:\n":        "    valkey:\n",
		"- redis:/data":       "- cache:/data",
		"    <<: *node\n":     "    <<: *nodes\n",
		"stop_grace_period: ": "stop_grace_period ",
	}, func(broken []byte) error {
		file := filepath.Join(t.TempDir(), "compose.yaml")
		if err := os.WriteFile(file, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := compose(file)
		return err
	})
}

// breaks wants that a file is refused by check with each of some mistakes.
func breaks(t *testing.T, name string, mistakes map[string]string, check func(broken []byte) error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, name))
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range mistakes {
		broken := bytes.Replace(text, []byte(from), []byte(to), 1)
		if bytes.Equal(broken, text) {
			t.Errorf("%q: not there", from)
		}
		if check(broken) == nil {
			t.Errorf("%q instead of %q: got no error", to, from)
		}
	}
}

// manifests are what Kubernetes is told.
type manifests struct {
	deployments []apps.Deployment
	services    []core.Service
	budgets     []policy.PodDisruptionBudget
	ingresses   []networking.Ingress
}

// add reads one file, in which nothing may be that Kubernetes does not know.
func (m *manifests) add(text []byte) error {
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			return err
		}
		var err error
		switch kind.APIVersion + " " + kind.Kind {
		case "apps/v1 Deployment":
			m.deployments, err = read(m.deployments, doc)
		case "v1 Service":
			m.services, err = read(m.services, doc)
		case "policy/v1 PodDisruptionBudget":
			m.budgets, err = read(m.budgets, doc)
		case "networking.k8s.io/v1 Ingress":
			m.ingresses, err = read(m.ingresses, doc)
		default:
			err = fmt.Errorf("unexpected %+v", kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func read[T any](list []T, doc []byte) ([]T, error) {
	var one T
	err := yaml.UnmarshalStrict(doc, &one)
	return append(list, one), err
}

func TestTheManifestsAreWhatKubernetesTakes(t *testing.T) {
	var m manifests
	for _, name := range []string{"chime.yaml", "ingress.yaml"} {
		text, err := os.ReadFile(filepath.Join(deploy, "kubernetes", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.add(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if len(m.deployments) != 1 || len(m.services) != 2 || len(m.budgets) != 1 || len(m.ingresses) != 1 {
		t.Fatalf("got %+v", m)
	}
	d := m.deployments[0]
	pod := d.Spec.Template
	selects := func(what string, labels map[string]string) {
		for name, value := range labels {
			if pod.Labels[name] != value {
				t.Errorf("%s: selects %v, and the pods are %v", what, labels, pod.Labels)
			}
		}
		if len(labels) == 0 {
			t.Errorf("%s: selects nothing", what)
		}
	}
	selects("Deployment", d.Spec.Selector.MatchLabels)
	selects("PodDisruptionBudget", m.budgets[0].Spec.Selector.MatchLabels)
	selects("topologySpreadConstraints", pod.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels)
	c := pod.Spec.Containers[0]
	for _, s := range m.services {
		selects("Service "+s.Name, s.Spec.Selector)
		if port := s.Spec.Ports[0].TargetPort.String(); port != c.Ports[0].Name {
			t.Errorf("Service %s: to port %s, want %s", s.Name, port, c.Ports[0].Name)
		}
	}
	for what, probe := range map[string]string{"readiness": c.ReadinessProbe.HTTPGet.Port.String(), "liveness": c.LivenessProbe.TCPSocket.Port.String()} {
		if probe != c.Ports[0].Name {
			t.Errorf("%s: of port %s, want %s", what, probe, c.Ports[0].Name)
		}
	}
	for _, arg := range c.Args {
		if _, name, ok := strings.Cut(arg, "$("); ok && !slices.ContainsFunc(c.Env, func(e core.EnvVar) bool { return strings.HasPrefix(name, e.Name+")") }) {
			t.Errorf("%s: not in env", arg)
		}
	}
	for _, mount := range c.VolumeMounts {
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == mount.Name }) {
			t.Errorf("%s: no such volume", mount.Name)
		}
		if !slices.ContainsFunc(c.Args, func(arg string) bool { return strings.Contains(arg, "="+mount.MountPath+"/") }) {
			t.Errorf("%s: nothing uses it", mount.MountPath)
		}
	}
	back := m.ingresses[0].Spec.Rules[0].HTTP.Paths[0].Backend.Service
	if s := m.services[0]; back.Name != s.Name || back.Port.Name != s.Spec.Ports[0].Name {
		t.Errorf("Ingress: to %+v, want %s", back, s.Name)
	}
}

func TestBrokenManifestsAreNotTaken(t *testing.T) {
	breaks(t, "kubernetes/chime.yaml", map[string]string{
		"containerPort:":         "containersPort:",
		"maxSurge: 1":            "maxSurge: [1]",
		"kind: Service\n":        "kind: Servise\n",
		"minReadySeconds: 10":    "minReadySeconds: ten",
		"          readOnly":     "         readOnly",
		"readOnlyRootFilesystem": "readonlyRootFS",
	}, func(broken []byte) error { return new(manifests).add(broken) })
}
