// hello: a string in, a map out.
package main

import "wasmrun"

type event struct {
	Name *string `json:"name"`
}

func greet(ctx wasmrun.Context, event event) (map[string]string, error) {
	if event.Name == nil {
		return nil, wasmrun.Fail("InvalidEvent", "the event needs a string \"name\"")
	}
	wasmrun.Log(wasmrun.Info, "greeting somebody")
	return map[string]string{"hello": *event.Name}, nil
}

func init() { wasmrun.Handle(greet) }

func main() {}
