package channel

import "slices"

// inboxes finds an inbox by its topic. Most clients are in a few topics only, and a
// map would cost each of them more than all the rest. Its client's lock guards it.
type inboxes struct {
	list  []*inbox
	index map[string]int // in list; nil while that is short
}

const shortList = 16

func (ins *inboxes) find(topic string) *inbox {
	if ins.index != nil {
		if i, ok := ins.index[topic]; ok {
			return ins.list[i]
		}
		return nil
	}
	for _, in := range ins.list {
		if in.topic == topic {
			return in
		}
	}
	return nil
}

// busy reports whether anything is yet to be answered.
func (ins *inboxes) busy() bool {
	return slices.ContainsFunc(ins.list, func(in *inbox) bool { return in.running || in.owed > 0 })
}

// heaviest returns the inbox in which most bytes wait. There is one.
func (ins *inboxes) heaviest() *inbox {
	return slices.MaxFunc(ins.list, func(a, b *inbox) int { return a.backlog.bytes - b.backlog.bytes })
}

func (ins *inboxes) add(in *inbox) {
	in.index = int32(len(ins.list))
	ins.list = append(ins.list, in)
	switch {
	case ins.index != nil:
		ins.index[in.topic] = int(in.index)
	case len(ins.list) > shortList:
		ins.index = map[string]int{}
		for i, in := range ins.list {
			ins.index[in.topic] = i
		}
	}
}

func (ins *inboxes) remove(in *inbox) {
	last := len(ins.list) - 1
	moved := ins.list[last]
	moved.index = in.index
	ins.list[in.index] = moved
	ins.list[last] = nil
	ins.list = ins.list[:last]
	if ins.index != nil {
		ins.index[moved.topic] = int(moved.index)
		delete(ins.index, in.topic)
	}
}
