package redis

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"

	"github.com/redis/rueidis"
)

//go:embed script
var files embed.FS

var (
	announceScript = load("announce")
	publishScript  = load("topic", "publish")
	eraseScript    = load("topic", "erase")
	readScript     = load("topic", "read")
	presentScript  = load("present")
	beatScript     = load("beat")
	buryScript     = load("bury")
	listScript     = load("list")
	adoptScript    = load("adopt")
)

// script is one that the engine runs by its name, which is its sum.
type script struct{ text, sum string }

// load makes a script of files.
func load(names ...string) script {
	var text []byte
	for _, name := range names {
		file, err := files.ReadFile("script/" + name + ".lua")
		if err != nil {
			panic(err)
		}
		text = append(text, file...)
	}
	sum := sha1.Sum(text) // it is how Redis names scripts
	return script{string(text), hex.EncodeToString(sum[:])}
}

// conn is a client, or one connection of it.
type conn interface {
	B() rueidis.Builder
	Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult
}

// run has the engine run a script, which it is sent if it does not know it.
func run(ctx context.Context, c conn, s script, keys []string, args ...string) rueidis.RedisResult {
	r := c.Do(ctx, c.B().Evalsha().Sha1(s.sum).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	if err, ok := rueidis.IsRedisErr(r.Error()); ok && err.IsNoScript() {
		r = c.Do(ctx, c.B().Eval().Script(s.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	}
	return r
}

var errAnswer = errors.New("the answer of the engine is not that of its script")

// evaluate runs a script, and returns the texts that it answers.
func evaluate(ctx context.Context, c conn, s script, keys []string, args ...string) ([]string, error) {
	list, err := run(ctx, c, s, keys, args...).AsStrSlice()
	if err == nil && len(list) == 0 {
		err = errAnswer
	}
	return list, err
}
