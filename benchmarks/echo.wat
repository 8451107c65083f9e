;; The guest of every benchmark: it answers with the event it was given, and does as little as it can.
;; No data segment, so that a start costs the engine's own work and not the copying of an image.
(module
  (memory (export "memory") 1)

  ;; One region from 1024 up, the same at each call: an event is one allocation.
  (func (export "wasmrun_alloc") (param $size i32) (result i32)
    (select (i32.const 1024) (i32.const 0) (i32.le_u (local.get $size) (i32.const 64512))))

  (func (export "wasmrun_handle_raw") (param $ptr i32) (param $len i32) (result i64)
    (call $pack (local.get $ptr) (local.get $len)))

  ;; [event, context] becomes [0, event] in place: two bytes are written before the event, the context is cut off.
  (func (export "wasmrun_handle") (param $ptr i32) (param $len i32) (result i64)
    (local $end i32)
    (local.set $end (call $skip (i32.add (local.get $ptr) (i32.const 1))))
    (i32.store16 (i32.sub (local.get $ptr) (i32.const 1)) (i32.const 0x0092))
    (call $pack
      (i32.sub (local.get $ptr) (i32.const 1))
      (i32.sub (local.get $end) (i32.sub (local.get $ptr) (i32.const 1)))))

  (func $pack (param $ptr i32) (param $len i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
      (i64.extend_i32_u (local.get $len))))

  ;; Where the MessagePack value at $at ends. Values of 64 KiB and more and extension types are not known here, and trap.
  (func $skip (param $at i32) (result i32)
    (local $left i32) (local $tag i32)
    (local.set $left (i32.const 1))
    (loop $next
      (local.set $tag (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (if (i32.lt_u (local.get $tag) (i32.const 0x80)) (then)            ;; positive fixint
        (else (if (i32.lt_u (local.get $tag) (i32.const 0x90))           ;; fixmap
          (then (local.set $left (i32.add (local.get $left) (i32.shl (i32.and (local.get $tag) (i32.const 15)) (i32.const 1)))))
        (else (if (i32.lt_u (local.get $tag) (i32.const 0xa0))           ;; fixarray
          (then (local.set $left (i32.add (local.get $left) (i32.and (local.get $tag) (i32.const 15)))))
        (else (if (i32.lt_u (local.get $tag) (i32.const 0xc0))           ;; fixstr
          (then (local.set $at (i32.add (local.get $at) (i32.and (local.get $tag) (i32.const 31)))))
        (else (if (i32.lt_u (local.get $tag) (i32.const 0xe0))
          (then
            (local.set $left (i32.add (local.get $left) (call $children (local.get $tag) (local.get $at))))
            (local.set $at (i32.add (local.get $at) (call $body (local.get $tag) (local.get $at))))))))))))))
      (br_if $next (local.get $left)))
    (local.get $at))

  ;; Bytes after the tag that belong to the value itself: its number, or its length and text.
  (func $body (param $tag i32) (param $at i32) (result i32)
    (block $none (block $one (block $two (block $four (block $eight (block $short (block $long (block $unknown
      (br_table
        $none $unknown $none $none                 ;; c0 nil, c2 false, c3 true
        $short $long $unknown                      ;; c4 bin8, c5 bin16
        $unknown $unknown $unknown                 ;; c7 to c9 extensions
        $four $eight                               ;; ca float32, cb float64
        $one $two $four $eight                     ;; cc to cf unsigned
        $one $two $four $eight                     ;; d0 to d3 signed
        $unknown $unknown $unknown $unknown $unknown  ;; d4 to d8 extensions
        $short $long $unknown                      ;; d9 str8, da str16
        $two $unknown $two $unknown                ;; dc array16, de map16
        $unknown
        (i32.sub (local.get $tag) (i32.const 0xc0))))
      (unreachable))
      (return (i32.add (i32.const 2) (call $u16 (local.get $at)))))
      (return (i32.add (i32.const 1) (i32.load8_u (local.get $at)))))
      (return (i32.const 8)))
      (return (i32.const 4)))
      (return (i32.const 2)))
      (return (i32.const 1)))
    (i32.const 0))

  ;; Values that follow as parts of an array or a map.
  (func $children (param $tag i32) (param $at i32) (result i32)
    (if (i32.eq (local.get $tag) (i32.const 0xdc))
      (then (return (call $u16 (local.get $at)))))
    (if (i32.eq (local.get $tag) (i32.const 0xde))
      (then (return (i32.shl (call $u16 (local.get $at)) (i32.const 1)))))
    (i32.const 0))

  (func $u16 (param $at i32) (result i32)
    (i32.or
      (i32.shl (i32.load8_u (local.get $at)) (i32.const 8))
      (i32.load8_u offset=1 (local.get $at))))
)
