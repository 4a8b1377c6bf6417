package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

// publisher sends events to sidestream in the order of the calls, which return at once. An event that does not arrive is
// tried again, under the same idempotency key, for a minute.
type publisher struct {
	url, key string
	client   http.Client
	queue    chan []byte
}

func newPublisher() *publisher {
	p := &publisher{
		url:    os.Getenv("SIDESTREAM_URL") + "/publish",
		key:    os.Getenv("SIDESTREAM_KEY"),
		client: http.Client{Timeout: 5 * time.Second},
		queue:  make(chan []byte, 1000),
	}
	go func() {
		for envelope := range p.queue {
			p.deliver(envelope)
		}
	}()
	return p
}

func (p *publisher) sendToTopic(topic, event string, data any) {
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	envelope, err := json.Marshal(map[string]any{
		"topic": topic, "event": event, "data": data, "idempotency_key": fmt.Sprintf("%x", key),
	})
	if err != nil {
		log.Printf("sidestream: %v", err)
		return
	}
	select {
	case p.queue <- envelope:
	default:
		log.Printf("sidestream: dropped, %d events are waiting", cap(p.queue))
	}
}

func (p *publisher) deliver(envelope []byte) {
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		again, err := p.post(envelope)
		if err == nil {
			return
		}
		if !again || time.Now().After(until) {
			log.Printf("sidestream: gave up: %v", err)
			return
		}
		log.Printf("sidestream: trying again: %v", err)
	}
}

// post tells what went wrong, and whether it may go better later.
func (p *publisher) post(envelope []byte) (again bool, err error) {
	request, err := http.NewRequest(http.MethodPost, p.url, bytes.NewReader(envelope))
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", "Bearer "+p.key)
	request.Header.Set("Content-Type", "application/json")
	answer, err := p.client.Do(request)
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body) // to its end, so that the connection is used again
	if answer.StatusCode >= 300 {
		return answer.StatusCode >= 500, fmt.Errorf("%s %s", answer.Status, text)
	}
	return false, nil
}
