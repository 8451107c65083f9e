module wasmrun

go 1.24
