package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsclient "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
)

// serverSetup is what a process that is a NATS server is to know.
type serverSetup struct {
	Name, Dir       string
	Listen, Cluster string
	Routes          []string // to the others
}

// serveNATS is the main function of a server.
func serveNATS(line []byte) error {
	var setup serverSetup
	if err := json.Unmarshal(line, &setup); err != nil {
		return err
	}
	o := &server.Options{
		ServerName: setup.Name, StoreDir: setup.Dir, JetStream: true, NoSigs: true, NoLog: true,
		// A server tells the others where it is, and they would reach it by no way that can be
		// cut: where it says there is nobody.
		Cluster: server.ClusterOpts{Name: "chaos", NoAdvertise: true, Advertise: "127.0.0.1:1"},
	}
	for _, one := range []struct {
		address string
		host    *string
		port    *int
	}{{setup.Listen, &o.Host, &o.Port}, {setup.Cluster, &o.Cluster.Host, &o.Cluster.Port}} {
		host, port, err := net.SplitHostPort(one.address)
		if err != nil {
			return err
		}
		*one.host = host
		*one.port, _ = strconv.Atoi(port)
	}
	for _, at := range setup.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: at})
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		return errors.New("it takes no connections")
	}
	fmt.Println("open")
	<-stop.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// threeServers are those of a NATS cluster that keeps each message on all of them, each a
// process, and each pair with a way in each direction.
type threeServers struct {
	t      *testing.T
	setups [3]serverSetup
	routes [3][3]*way // from the first to the second; nil to itself
	opened int        // nodes, so that each begins at another one

	mu      sync.Mutex // guards servers
	servers [3]*part

	conn *natsclient.Conn // of the test, which looks how they are
	js   jetstream.JetStream
}

func newServers(t *testing.T) *threeServers {
	t.Helper()
	e := &threeServers{t: t}
	for i := range e.setups {
		e.setups[i] = serverSetup{Name: fmt.Sprint("server-", i), Dir: t.TempDir(), Listen: need.Free(t), Cluster: need.Free(t)}
	}
	for i := range e.setups {
		for k := range e.setups {
			if k != i {
				e.routes[i][k] = newWay(t, e.setups[k].Cluster)
				e.setups[i].Routes = append(e.setups[i].Routes, e.routes[i][k].address())
			}
		}
	}
	for i := range e.servers {
		e.start(i)
	}
	var err error
	if e.conn, err = natsclient.Connect("nats://"+strings.Join(e.addresses(), ",nats://"), natsclient.MaxReconnects(-1), natsclient.IgnoreDiscoveredServers()); err != nil {
		t.Fatal(err)
	}
	if e.js, err = jetstream.New(e.conn); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *threeServers) start(i int) {
	p := begin(e.t, "server", e.setups[i].Name, e.setups[i], func([]byte) {})
	if _, err := p.opened(); err != nil {
		e.t.Error(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.servers[i] = p
}

func (e *threeServers) server(i int) *part {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.servers[i]
}

func (e *threeServers) addresses() (list []string) {
	for _, one := range e.setups {
		list = append(list, one.Listen)
	}
	return list
}

func (e *threeServers) setup(ways []string) engineSetup {
	var urls []string
	for i := range ways {
		urls = append(urls, "nats://"+ways[(e.opened+i)%len(ways)])
	}
	e.opened++
	return engineSetup{NATS: strings.Join(urls, ",")}
}

func (e *threeServers) survives() broker.Survival { return broker.SurvivesKill | broker.SurvivesNode }

// hurt has something befall one of the servers, of the leader as often as of another one, and
// returns when that is over and all three have all there is: or the next to go could be one
// too many.
func (e *threeServers) hurt(w *processes, d *dice) {
	i := d.n(len(e.servers))
	name := e.setups[i].Name
	if leader := e.leader(); leader >= 0 && d.one(3) {
		i, name = leader, e.setups[leader].Name+", the leader,"
	}
	pause := d.between(100*time.Millisecond, 3*time.Second)
	switch d.n(7) {
	case 0:
		w.away()
	case 1, 2:
		w.befall(fmt.Sprintf("%s is killed for %v", name, pause), func() {
			e.server(i).kill()
			time.Sleep(pause)
			e.start(i)
		})
	case 3, 4:
		w.befall(fmt.Sprintf("%s stops for %v", name, pause), func() {
			e.server(i).stop()
			time.Sleep(pause)
			e.server(i).goOn()
		})
	default:
		how := []state{hole, severed}[d.n(2)]
		w.befall(fmt.Sprintf("the routes of %s are %v for %v", name, how, pause), func() {
			e.cutOff(i, how)
			time.Sleep(pause)
			e.cutOff(i, passing)
		})
	}
	w.within("the servers of NATS are a whole", e.isWhole)
}

// cutOff changes what is between a server and the two others.
func (e *threeServers) cutOff(i int, s state) {
	for k := range e.routes {
		if k != i {
			e.routes[i][k].be(s)
			e.routes[k][i].be(s)
		}
	}
}

// stop has no majority be there.
func (e *threeServers) stop() {
	for i := range 2 {
		e.server(i).stop()
	}
}

func (e *threeServers) goOn() {
	for i := range 2 {
		e.server(i).goOn()
	}
}

// info is how the stream is, of which there is one.
func (e *threeServers) info() (*jetstream.ClusterInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	list := e.js.ListStreams(ctx)
	for one := range list.Info() {
		if one.Cluster != nil {
			return one.Cluster, nil
		}
	}
	return nil, errors.Join(errors.New("there is no stream"), list.Err())
}

// leader is the server that leads the stream; -1 if nobody says.
func (e *threeServers) leader() int {
	info, err := e.info()
	for i, one := range e.setups {
		if err == nil && one.Name == info.Leader {
			return i
		}
	}
	return -1
}

func (e *threeServers) isWhole() error {
	info, err := e.info()
	switch {
	case err != nil:
		return err
	case info.Leader == "" || len(info.Replicas) != len(e.servers)-1:
		return fmt.Errorf("the stream has the leader %q and %d others", info.Leader, len(info.Replicas))
	}
	for _, one := range info.Replicas {
		if !one.Current || one.Offline {
			return fmt.Errorf("%s is behind %s: %+v", one.Name, info.Leader, one)
		}
	}
	return nil
}

func (e *threeServers) close() {
	e.conn.Close()
	for i := range e.servers {
		e.server(i).kill()
	}
	for _, list := range e.routes {
		for _, w := range list {
			if w != nil {
				w.close()
			}
		}
	}
}
