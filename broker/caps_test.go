package broker_test

import (
	"testing"

	"github.com/go-chime/chime/broker"
)

func TestSurvivalInWords(t *testing.T) {
	for s, want := range map[broker.Survival]string{
		broker.SurvivesNothing:                                           "nothing",
		broker.SurvivesKill:                                              "a kill",
		broker.SurvivesKill | broker.SurvivesPower:                       "a kill and a power cut",
		broker.SurvivesKill | broker.SurvivesNode:                        "a kill and the loss of a node",
		broker.SurvivesKill | broker.SurvivesNode | broker.SurvivesPower: "a kill, the loss of a node and a power cut",
	} {
		if got := s.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !s.Includes(broker.SurvivesNothing) || s.Includes(broker.SurvivesNode) != (s&broker.SurvivesNode != 0) {
			t.Errorf("%v: includes what it does not", s)
		}
	}
}
