package main

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const frame = 20 * time.Millisecond

// phone is one participant. Its steps come one after the other; stop may come during a speak.
type phone struct {
	room      *lksdk.Room
	track     *lksdk.LocalTrack
	bound     chan struct{}
	stopped   atomic.Bool
	dataFrame atomic.Int64 // the next frame's number
	seqByte   byte         // as the app: one counter for its life, modulo 256
}

func (p *phone) join(url, token string) (err error) {
	p.seqByte = 1
	p.room, err = lksdk.ConnectToRoomWithToken(url, token, lksdk.NewRoomCallback(), lksdk.WithAutoSubscribe(false), lksdk.WithDisableRegionDiscovery())
	return err
}

func (p *phone) publish() (err error) {
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	if p.track, err = lksdk.NewLocalTrack(opus); err != nil {
		return err
	}
	p.bound = make(chan struct{})
	p.track.OnBind(func() { close(p.bound) })
	_, err = p.room.LocalParticipant.PublishTrack(p.track, &lksdk.TrackPublicationOptions{Name: "microphone", Source: livekit.TrackSource_MICROPHONE})
	return err
}

// paced calls say every 20 ms of real time, catching up after a stall, until stop.
func (p *phone) paced(say func(n int) error) error {
	began := time.Now()
	for n := 0; !p.stopped.Load(); n++ {
		time.Sleep(time.Until(began.Add(time.Duration(n) * frame)))
		if err := say(n); err != nil {
			return err
		}
	}
	return nil
}

func (p *phone) speakTrack(file string) error {
	packets, err := opusPackets(file)
	if err != nil {
		return err
	}
	select {
	case <-p.bound:
	case <-time.After(30 * time.Second):
		return errors.New("the track was not negotiated in 30 s")
	}
	return p.paced(func(n int) error {
		return p.track.WriteSample(media.Sample{Data: packets[n%len(packets)], Duration: frame}, nil)
	})
}

func (p *phone) speakData(first int64) error {
	p.dataFrame.Store(first)
	return p.paced(func(int) error {
		packet := numberedFrame(p.seqByte, p.dataFrame.Add(1)-1)
		p.seqByte++
		return p.room.LocalParticipant.PublishDataPacket(lksdk.UserData(packet), lksdk.WithDataPublishReliable(false))
	})
}

// begin is called in the order in which the steps came: a stop that comes while a speak still waits for its track counts.
func (p *phone) begin(verb string) { p.stopped.Store(verb == "stop") }

func (p *phone) stop() { p.stopped.Store(true) }

func (p *phone) leave() {
	p.stop()
	if p.room != nil {
		p.room.Disconnect()
	}
}
