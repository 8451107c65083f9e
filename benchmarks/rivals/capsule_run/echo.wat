;; An event in the form that Capsule gives it, {"task_name": …, "args": ["…"], …}; the answer is {"result":"…"}, made in place.
(component
  (core module $guest
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (data (i32.const 16) "{\"result\":")
    (func $find (param $at i32) (param $sought i32) (result i32)
      (loop $next
        (if (i32.ne (i32.load8_u (local.get $at)) (local.get $sought))
          (then
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next))))
      (local.get $at))
    (func (export "run") (param $event i32) (param $length i32) (result i32) (local $start i32) (local $end i32)
      (local.set $start (call $find (local.get $event) (i32.const 0x5b)))
      (local.set $end (call $find (local.get $start) (i32.const 0x5d)))
      (local.set $start (i32.sub (local.get $start) (i32.const 9)))
      (memory.copy (local.get $start) (i32.const 16) (i32.const 10))
      (i32.store8 (local.get $end) (i32.const 0x7d))
      (i32.store (i32.const 0) (i32.const 0))
      (i32.store (i32.const 4) (local.get $start))
      (i32.store (i32.const 8) (i32.sub (i32.add (local.get $end) (i32.const 1)) (local.get $start)))
      (i32.const 0)))
  (core instance $made (instantiate $guest))
  (func $run (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $made "run") (memory (core memory $made "memory")) (realloc (core func $made "cabi_realloc"))))
  (instance $runner (export "run" (func $run)))
  (export "capsule:host/task-runner" (instance $runner)))
