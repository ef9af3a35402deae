package queue

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/wire"
)

// TestTheBudgetKnowsWhatAllQueuesHold compares it with the queues themselves: each
// large message once, and the small ones of each queue up to a step.
func TestTheBudgetKnowsWhatAllQueuesHold(t *testing.T) {
	random := rand.New(rand.NewPCG(need.Seed(t), 0))
	budget := NewBudget(1 << 40)
	queues := make([]Queue, 10)
	for i := range queues {
		queues[i].Init(budget)
	}
	for round := range 20_000 {
		q := &queues[random.IntN(len(queues))]
		switch random.IntN(8) {
		case 0, 1:
			m := wire.NewPush("t", "e", make([]byte, random.IntN(5000)), 0)
			for i := range queues {
				if random.IntN(2) == 0 {
					queues[i].Push(Item{M: m, To: strings.Repeat("7", random.IntN(200))}) // of one join, not of the message
				}
			}
		case 2:
			q.Push(Item{M: wire.NewPush("t", "e", make([]byte, random.IntN(2*largeMessage)), 0), To: "1"})
		case 3, 4:
			for q.Due() > 0 && random.IntN(10) > 0 {
				q.Next()
			}
		case 5:
			q.Acknowledge(q.Forgotten() + uint64(random.IntN(int(q.Sent()-q.Forgotten())+1)))
		case 6:
			q.Trim(random.IntN(100), random.IntN(50_000))
		case 7:
			if random.IntN(50) == 0 {
				q.Clear()
			}
		}
		if round%50 > 0 {
			continue
		}
		want := 0
		seen := map[*wire.Message]bool{}
		for i := range queues {
			own := 0
			for n := range queues[i].n {
				it := queues[i].slot(n)
				own += len(it.To)
				switch size := it.M.Size(); {
				case size <= largeMessage:
					own += size
				case !seen[it.M]:
					seen[it.M] = true
					want += forms * size
				}
			}
			want += own / step * step
		}
		if got := budget.Taken(); got != want {
			t.Fatalf("round %d: got %d bytes, want %d", round, got, want)
		}
	}
	for i := range queues {
		queues[i].Clear()
	}
	if got := budget.Taken(); got != 0 {
		t.Errorf("got %d bytes taken by empty queues", got)
	}
}

// Those with most waiting are refused first, and all together never have more than
// half of the budget.
func TestQueuesShareWhatTheBudgetHasLeft(t *testing.T) {
	const total, most, size = 2 << 20, 128 << 10, 2000
	budget := NewBudget(total)
	queues := make([]Queue, 100)
	var first int // that was refused, with so many bytes waiting
	for i := range queues {
		queues[i].Init(budget)
		for {
			it := Item{M: wire.NewPush("t", "e", make([]byte, size-130), 0)}
			if !queues[i].Fits(it, budget.Share(most)) {
				break
			}
			queues[i].Push(it)
		}
		if i == 0 {
			first = queues[i].WaitingBytes()
		}
	}
	if first < most-size {
		t.Errorf("the first queue was refused at %d bytes, want %d: nobody else has any", first, most)
	}
	// One message each fits whatever is left: of these no server has too many.
	if taken, bound := budget.Taken(), total/2+len(queues)*forms*size; taken > bound {
		t.Errorf("%d bytes are taken, want at most %d", taken, bound)
	}
	if got := budget.Share(most); got > queues[0].WaitingBytes() {
		t.Errorf("a queue may have %d bytes, want less than the %d of the longest", got, queues[0].WaitingBytes())
	}
}
