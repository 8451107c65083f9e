module examples

go 1.24

require wasmrun v0.0.0

replace wasmrun => ../
