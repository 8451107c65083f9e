// webhook: takes a webhook as a function URL gets it, checks its signature, and answers what a push was about.
//
//	wasmrun run webhook.wasm --env WEBHOOK_SECRET=s3cret --event @examples/events/webhook.json
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"

	"wasmrun"
)

type webhook struct {
	Headers map[string]string `json:"headers"` // names in lower case
	Body    string            `json:"body"`
}

type push struct {
	Ref        string `json:"ref"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
	Commits []struct {
		ID      string `json:"id"`
		Message string `json:"message"`
	} `json:"commits"`
}

type summary struct {
	Repository string   `json:"repository"`
	Branch     string   `json:"branch"`
	Commits    []string `json:"commits"`
}

var secret []byte

func receive(ctx wasmrun.Context, event webhook) (summary, error) {
	signature, err := hex.DecodeString(strings.TrimPrefix(event.Headers["x-hub-signature-256"], "sha256="))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(event.Body))
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return summary{}, wasmrun.Fail("BadSignature", "the webhook is not signed with the secret")
	}
	var pushed push
	if err := json.Unmarshal([]byte(event.Body), &pushed); err != nil {
		return summary{}, wasmrun.Fail("InvalidEvent", "the body is not a push: "+err.Error())
	}
	found := summary{pushed.Repository.FullName, strings.TrimPrefix(pushed.Ref, "refs/heads/"), []string{}}
	for _, commit := range pushed.Commits {
		title, _, _ := strings.Cut(commit.Message, "\n")
		found.Commits = append(found.Commits, commit.ID[:min(7, len(commit.ID))]+" "+title)
	}
	wasmrun.Log(wasmrun.Info, "a push to "+found.Repository)
	return found, nil
}

func init() {
	wasmrun.Init(func() error {
		secret = []byte(os.Getenv("WEBHOOK_SECRET"))
		if len(secret) == 0 {
			return wasmrun.Fail("NoSecret", "grant WEBHOOK_SECRET, the secret that webhooks are signed with")
		}
		return nil
	})
	wasmrun.Handle(receive)
}

func main() {}
