package nats

import (
	"bytes"
	"encoding/json"

	"github.com/go-chime/chime/broker"
)

// news is what a node announces in a topic, or a part of its answer.
type news struct {
	Instance string
	Version  uint64           // of the topic on that node, with this
	Joins    []broker.Present `json:",omitempty"`
	Leaves   []string         `json:",omitempty"` // refs
	Left     bool             `json:",omitempty"` // nobody is any more
	More     bool             `json:",omitempty"` // of an answer: there is another part
}

// perPart bounds the bytes of one part of an answer or a change.
const perPart = 128 << 10

// sizeOfPresent is at least what it takes as JSON.
func sizeOfPresent(p *broker.Present) int {
	return len(p.Meta) + sizeOfRef(p.Ref) + sizeOfRef(p.Key) + 64
}

// sizeOfRef counts a character that is written as \u0000 as such.
func sizeOfRef(s string) int { return 6*len(s) + 4 }

// parts spreads joins, and then leaves, over as many news as it takes: the servers take no
// larger ones. Whoever is larger alone is known to this node only, as the log says.
func (p *people) parts(joins, leaves []broker.Present) (list []news, alone []broker.Present) {
	most, size := p.site.most(), 0
	list = []news{{}}
	room := func(n int) *news {
		if size += n; size > min(perPart, most) && size > n {
			list, size = append(list, news{}), n
		}
		return &list[len(list)-1]
	}
	for i := range joins {
		n := sizeOfPresent(&joins[i])
		if n > most {
			p.site.log.Warn("broker/nats: who is present is too large to be told to other nodes", "bytes", len(joins[i].Meta), "most", most)
			alone = append(alone, joins[i])
			continue
		}
		part := room(n)
		part.Joins = append(part.Joins, joins[i])
	}
	for i := range leaves { // joins count first
		part := room(sizeOfRef(leaves[i].Ref))
		part.Leaves = append(part.Leaves, leaves[i].Ref)
	}
	return list, alone
}

// encode leaves the metas as they are.
func encode(n news) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(n); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
