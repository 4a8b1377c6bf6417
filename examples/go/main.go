// A board of messages with net/http. It has no stream of its own: `/events` never gets here.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const kept = 200 // messages of each room

type message struct {
	ID     int       `json:"id"`
	Author string    `json:"author"`
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
}

type board struct {
	push *publisher

	lock   sync.Mutex
	lastID int
	rooms  map[string][]message
}

func (b *board) history(w http.ResponseWriter, r *http.Request) {
	b.lock.Lock()
	messages := append([]message{}, b.rooms[r.URL.Query().Get("room")]...)
	b.lock.Unlock()
	answer(w, http.StatusOK, messages)
}

func (b *board) write(w http.ResponseWriter, r *http.Request) {
	var body struct{ Room, Author, Text string }
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(&body)
	if err != nil || !fits(&body.Room, 40) || !fits(&body.Author, 40) || !fits(&body.Text, 2000) {
		problem := "A message needs a room, an author and 1 to 2000 characters."
		answer(w, http.StatusBadRequest, map[string]string{"error": problem})
		return
	}

	b.lock.Lock()
	defer b.lock.Unlock()
	b.lastID++
	written := message{ID: b.lastID, Author: body.Author, Text: body.Text, At: time.Now().UTC()}
	messages := append(b.rooms[body.Room], written)
	if len(messages) > kept {
		messages = messages[1:]
	}
	b.rooms[body.Room] = messages
	b.push.sendToTopic("room:"+body.Room, "message:new", written)
	answer(w, http.StatusCreated, written)
}

// fits takes the blanks off a text, and tells whether it has 1 to most characters.
func fits(text *string, most int) bool {
	*text = strings.TrimSpace(*text)
	count := utf8.RuneCountInString(*text)
	return 0 < count && count <= most
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func main() {
	b := &board{push: newPublisher(), rooms: map[string][]message{}}
	http.HandleFunc("/api/messages", func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			b.history(w, r)
		case http.MethodPost:
			b.write(w, r)
		default:
			http.Error(w, "GET or POST", http.StatusMethodNotAllowed)
		}
	})
	http.Handle("/", http.FileServer(http.Dir("static")))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
