package redis_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker/redis"
)

// A Router whose topics are those of all nodes.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := redis.Open(ctx, "redis://10.0.0.5:6379", redis.Options{Prefix: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	rt := chime.NewRouter(chime.WithBroker(b))
	log.Fatal(http.ListenAndServe(":4000", rt))
}
