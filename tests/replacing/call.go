// Calls a function of the page's code for Go: its name, then its arguments as JSON. Prints the answer as JSON.
package main

import (
	"encoding/json"
	"log"
	"os"
)

func main() {
	given := os.Args[2:]
	text := func(at int) (text string) {
		if at < len(given) {
			read(given[at], &text)
		}
		return
	}
	data := func(at int) (data any) {
		read(given[at], &data)
		return
	}
	var said any
	var err error
	switch os.Args[1] {
	case "sendToUser":
		said, err = SendToUser(text(0), text(1), data(2))
	case "sendToUsers":
		var users []string
		read(given[0], &users)
		said, err = SendToUsers(users, text(1), data(2))
	case "broadcastToConversation":
		said, err = BroadcastToConversation(text(0), text(1), data(2), text(3))
	case "sendToAll":
		said, err = SendToAll(text(0), data(1))
	case "sendToSession":
		said, err = SendToSession(text(0), text(1), data(2))
	case "hasConnection":
		said, err = HasConnection(text(0))
	case "getConnectionCount":
		said, err = GetConnectionCount()
	case "getActiveConnections":
		said, err = GetActiveConnections()
	case "disconnectClient":
		said, err = DisconnectClient(text(0))
	case "getStats":
		said, err = GetStats()
	}
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}

func read(text string, into any) {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		log.Fatal(err)
	}
}
