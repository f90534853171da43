// phones - many light phones in one process: LiveKit's own Go SDK, speaking as microphone tracks or as data packets.
//
// An SDK phone with an encoder of its own costs three per cent of a core; fifty of them leave none for the server. These speak Opus
// that was encoded beforehand (the packets of an Ogg file, in a loop) and the same numbered frames as the others.
//
// In: a line { id, phone, verb, args } a step. Out: { id, dataFrame } or { id, error }. Ends with its standard input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

type step struct {
	ID    int               `json:"id"`
	Phone string            `json:"phone"`
	Verb  string            `json:"verb"`
	Args  []json.RawMessage `json:"args"`
}

type answer struct {
	ID        int    `json:"id"`
	Error     string `json:"error,omitempty"`
	DataFrame int64  `json:"dataFrame"`
}

func argument[T any](s *step, n int) (value T, err error) {
	if n >= len(s.Args) {
		return value, fmt.Errorf("%s: argument %d is missing", s.Verb, n+1)
	}
	return value, json.Unmarshal(s.Args[n], &value)
}

func (p *phone) do(s *step) error {
	switch s.Verb {
	case "join":
		url, err := argument[string](s, 0)
		if err != nil {
			return err
		}
		token, err := argument[string](s, 1)
		if err != nil {
			return err
		}
		return p.join(url, token)
	case "publish":
		return p.publish()
	case "speakTrack":
		file, err := argument[string](s, 0)
		if err != nil {
			return err
		}
		return p.speakTrack(file)
	case "speakData":
		first, err := argument[int64](s, 0)
		if err != nil {
			return err
		}
		return p.speakData(first)
	case "stop":
		p.stop()
		return nil
	case "leave":
		p.leave()
		return nil
	}
	return fmt.Errorf("a phone knows no %q", s.Verb)
}

func main() {
	lksdk.SetLogger(logger.GetDiscardLogger())
	logger.SetLogger(logger.GetDiscardLogger(), "phones")
	var out sync.Mutex
	encoder := json.NewEncoder(os.Stdout)
	phones := map[string]*phone{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		s := &step{}
		if err := json.Unmarshal(lines.Bytes(), s); err != nil {
			fmt.Fprintln(os.Stderr, "phones:", err)
			os.Exit(2)
		}
		p := phones[s.Phone]
		if p == nil {
			p = &phone{}
			phones[s.Phone] = p
		}
		p.begin(s.Verb)
		go func() {
			a := answer{ID: s.ID}
			if err := p.do(s); err != nil {
				a.Error = err.Error()
			}
			a.DataFrame = p.dataFrame.Load()
			out.Lock()
			defer out.Unlock()
			encoder.Encode(a)
		}()
	}
}
