package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

const cell = 320 // samples of 20 ms at 16 kHz

// numberedFrame is a data packet: the sequence byte, then samples that name frame n (lib/signal.mjs has the other half).
func numberedFrame(seqByte byte, n int64) []byte {
	packet := make([]byte, 1+2*cell)
	packet[0] = seqByte
	put := func(i int, sample int64) { binary.LittleEndian.PutUint16(packet[1+2*i:], uint16(int16(sample))) }
	put(0, n&0x7fff)
	put(1, n>>15&0x7fff)
	for i := int64(2); i < cell; i++ {
		put(int(i), (n*31+i*17)&0x3fff-0x2000)
	}
	return packet
}

// opusPackets reads an Ogg Opus file with one packet of 20 ms a page. The file holds its sound twice: the first half is where the encoder
// comes from, the second one is what a loop plays.
func opusPackets(file string) ([][]byte, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	reader, _, err := oggreader.NewWith(in)
	if err != nil {
		return nil, err
	}
	var packets [][]byte
	for {
		page, header, err := reader.ParseNextPage()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if header.GranulePosition > 0 {
			packets = append(packets, page)
		}
	}
	half := len(packets) / 2
	if half == 0 {
		return nil, fmt.Errorf("%s holds no sound", file)
	}
	return packets[half : 2*half], nil
}
