;; Echoes its event: text in, text out, as the world wasmrun:function/function has it. What it is given stays where it
;; is put until the answer was read; then all memory is free again.
(component
  (core module $m
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $top))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 12) (local.get 0))
      (i32.store (i32.const 16) (local.get 1))
      (i32.const 8))
    (func (export "done") (param i32) (global.set $top (i32.const 1024))))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (func (export "handle") (param "event" string) (param "context" string) (result (result string (error string)))
    (canon lift (core func $i "handle") (memory $memory) (realloc (core func $i "realloc"))
      (post-return (core func $i "done")))))
