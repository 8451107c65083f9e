;; The kernel of the Extism interface: the memory that a plug-in and its host share, as a module that plug-ins are
;; linked with, so that what they do with it stays inside WebAssembly.
;;
;; A plug-in can write wherever it likes from byte 512 on, the headers of blocks included. Nothing here relies on
;; them: the worst that a wrong one does is a trap, or garbage for the plug-in that wrote it. What the host reads is
;; below, where no store of a plug-in reaches:
;;
;;   32 offset and 40 length of the output, 48 handle and 56 length of the error, 64 to 176 heads of the free lists,
;;   256 to 512 heads of the lists of variables, by a hash of their names.
;;
;; A block is a header of 16 bytes and its data, whose address is the handle. The header: size u32, bytes in use u32,
;; and a mark u64, by which a handle is told from any other number. Freed blocks are in lists by the power of two that
;; their size reaches; the first word of their data is the next one's address. A variable is a block with another
;; mark: the next variable u32, the length of its name u32, its name, its value.
(module $kernel
  (import "host" "grow" (func $host_grow (param i32) (result i32)))
  (import "host" "log" (func $host_log (param i32 i32 i32)))
  (import "host" "config_get" (func $host_config_get (param i32 i32) (result i64)))
  (import "host" "http_request" (func $host_http_request (param i32 i32 i32 i32) (result i64)))
  (import "host" "http_status_code" (func $http_status_code (result i32)))
  (import "host" "http_headers" (func $http_headers (result i64)))
  (import "host" "var_limit" (func $host_var_limit (result i64)))
  (import "host" "refuse" (func $host_refuse (param i32)))

  (memory (export "memory") 1)
  (global $position (mut i32) (i32.const 512))
  (global $input (mut i64) (i64.const 0))
  (global $input_length (mut i64) (i64.const 0))
  (global $var_bytes (mut i64) (i64.const 0))
  (global $var_limit (mut i64) (i64.const -1))

  ;; Blocks

  (func $mark_of (param $block i32) (result i64)
    (i64.xor (i64.extend_i32_u (local.get $block)) (i64.const 0x6e72756d73617762)))

  (func $var_mark_of (param $block i32) (result i64)
    (i64.xor (i64.extend_i32_u (local.get $block)) (i64.const 0x7261766d73617762)))

  (func $size (param $block i32) (result i32)
    (i32.load (i32.sub (local.get $block) (i32.const 16))))

  (func $used (param $block i32) (result i32)
    (i32.load (i32.sub (local.get $block) (i32.const 12))))

  (func $set_header (param $block i32) (param $size i32) (param $used i32) (param $mark i64)
    (i32.store (i32.sub (local.get $block) (i32.const 16)) (local.get $size))
    (i32.store (i32.sub (local.get $block) (i32.const 12)) (local.get $used))
    (i64.store (i32.sub (local.get $block) (i32.const 8)) (local.get $mark)))

  ;; Whether a number is the handle of a block in use.
  (func $is_handle (param $handle i64) (result i32)
    (if (i32.or
          (i64.lt_u (local.get $handle) (i64.const 528))
          (i64.gt_u (local.get $handle) (i64.extend_i32_u (global.get $position))))
      (then (return (i32.const 0))))
    (i64.eq
      (i64.load (i32.sub (i32.wrap_i64 (local.get $handle)) (i32.const 8)))
      (call $mark_of (i32.wrap_i64 (local.get $handle)))))

  ;; Where the head of the free list is that holds blocks of a size.
  (func $head_of (param $size i32) (result i32)
    (i32.add (i32.const 64)
      (i32.shl (i32.sub (i32.const 27) (i32.clz (local.get $size))) (i32.const 2))))

  (func $push (param $block i32) (param $size i32) (local $head i32)
    (local.set $head (call $head_of (local.get $size)))
    (call $set_header (local.get $block) (local.get $size) (i32.const 0) (i64.const 0))
    (i32.store (local.get $block) (i32.load (local.get $head)))
    (i32.store (local.get $head) (local.get $block)))

  ;; Take the block that the word at $link names out of its list, cut to $size where what is left makes a block.
  (func $take (param $link i32) (param $size i32) (result i32) (local $block i32) (local $left i32)
    (local.set $block (i32.load (local.get $link)))
    (i32.store (local.get $link) (i32.load (local.get $block)))
    (local.set $left (i32.sub (call $size (local.get $block)) (local.get $size)))
    (if (i32.ge_u (local.get $left) (i32.const 64))
      (then
        (i32.store (i32.sub (local.get $block) (i32.const 16)) (local.get $size))
        (call $push
          (i32.add (i32.add (local.get $block) (local.get $size)) (i32.const 16))
          (i32.sub (local.get $left) (i32.const 16)))))
    (local.get $block))

  ;; A freed block of at least $size bytes; 0 where none is found. A few of the list where some may be too small, then
  ;; the first of those where none is.
  (func $reuse (param $size i32) (result i32) (local $link i32) (local $block i32) (local $tries i32)
    (local.set $link (call $head_of (local.get $size)))
    (local.set $tries (i32.const 8))
    (block $done
      (loop $next
        (local.set $block (i32.load (local.get $link)))
        (br_if $done (i32.eqz (local.get $block)))
        (if (i32.ge_u (call $size (local.get $block)) (local.get $size))
          (then (return (call $take (local.get $link) (local.get $size)))))
        (local.set $link (local.get $block))
        (local.set $tries (i32.sub (local.get $tries) (i32.const 1)))
        (br_if $next (local.get $tries))))
    (local.set $link (i32.add (call $head_of (local.get $size)) (i32.const 4)))
    (block $none
      (loop $next
        (br_if $none (i32.ge_u (local.get $link) (i32.const 176)))
        (if (i32.load (local.get $link))
          (then (return (call $take (local.get $link) (local.get $size)))))
        (local.set $link (i32.add (local.get $link) (i32.const 4)))
        (br $next)))
    (i32.const 0))

  (func $bytes (result i64)
    (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))

  (func $alloc (export "alloc") (param $length i64) (result i64)
    (local $size i32) (local $block i32) (local $end i64) (local $missing i64)
    (if (i64.gt_u (i64.sub (local.get $length) (i64.const 1)) (i64.const 0xfffeffff))
      (then (return (i64.const 0))))
    (local.set $size
      (i32.wrap_i64 (i64.and (i64.add (local.get $length) (i64.const 15)) (i64.const -16))))
    (local.set $block (call $reuse (local.get $size)))
    (if (i32.eqz (local.get $block))
      (then
        (local.set $block (i32.add (global.get $position) (i32.const 16)))
        (local.set $end
          (i64.add (i64.extend_i32_u (local.get $block)) (i64.extend_i32_u (local.get $size))))
        (if (i64.gt_u (local.get $end) (call $bytes))
          (then
            (local.set $missing (i64.sub (local.get $end) (call $bytes)))
            (if (i32.eqz (call $host_grow
                  (i32.wrap_i64 (i64.shr_u (i64.add (local.get $missing) (i64.const 65535)) (i64.const 16)))))
              (then (return (i64.const 0))))))
        (global.set $position (i32.wrap_i64 (local.get $end)))
        (i32.store (i32.sub (local.get $block) (i32.const 16)) (local.get $size))))
    (i32.store (i32.sub (local.get $block) (i32.const 12)) (i32.wrap_i64 (local.get $length)))
    (i64.store (i32.sub (local.get $block) (i32.const 8)) (call $mark_of (local.get $block)))
    (i64.extend_i32_u (local.get $block)))

  (func $release (param $block i32) (local $size i32)
    (local.set $size (call $size (local.get $block)))
    (if (i32.eq (i32.add (local.get $block) (local.get $size)) (global.get $position))
      (then
        (i64.store (i32.sub (local.get $block) (i32.const 8)) (i64.const 0))
        (global.set $position (i32.sub (local.get $block) (i32.const 16))))
      (else (call $push (local.get $block) (local.get $size)))))

  (func $free (export "free") (param $handle i64)
    (if (call $is_handle (local.get $handle))
      (then
        (call $release (i32.wrap_i64 (local.get $handle)))
        (if (i64.eq (local.get $handle) (global.get $input))
          (then (global.set $input_length (i64.const 0)))))))

  (func $length (export "length") (export "length_unsafe") (param $handle i64) (result i64)
    (if (call $is_handle (local.get $handle))
      (then (return (i64.extend_i32_u (call $used (i32.wrap_i64 (local.get $handle)))))))
    (i64.const 0))

  ;; The same, of a handle that must be one: the plug-in ends with any other number than 0, which stands for nothing.
  (func $wanted_length (param $handle i64) (result i64)
    (if (i64.ne (local.get $handle) (i64.const 0))
      (then
        (if (i32.eqz (call $is_handle (local.get $handle))) (then (call $host_refuse (i32.const 3))))))
    (call $length (local.get $handle)))

  (func (export "memory_bytes") (result i64)
    (call $bytes))

  ;; Bytes of a block, one at a time or eight: outside of memory there are zeros, and stores are lost

  (func $is_outside (param $at i64) (param $count i64) (result i32)
    (i64.gt_u
      (i64.sub (local.get $at) (i64.const 512))
      (i64.sub (i64.sub (call $bytes) (i64.const 512)) (local.get $count))))

  (func (export "load_u8") (param $at i64) (result i32)
    (if (call $is_outside (local.get $at) (i64.const 1)) (then (return (i32.const 0))))
    (i32.load8_u (i32.wrap_i64 (local.get $at))))

  (func (export "load_u64") (param $at i64) (result i64)
    (if (call $is_outside (local.get $at) (i64.const 8)) (then (return (i64.const 0))))
    (i64.load (i32.wrap_i64 (local.get $at))))

  (func (export "store_u8") (param $at i64) (param $value i32)
    (if (call $is_outside (local.get $at) (i64.const 1)) (then (return)))
    (i32.store8 (i32.wrap_i64 (local.get $at)) (local.get $value)))

  (func (export "store_u64") (param $at i64) (param $value i64)
    (if (call $is_outside (local.get $at) (i64.const 8)) (then (return)))
    (i64.store (i32.wrap_i64 (local.get $at)) (local.get $value)))

  ;; Input, output, error

  (func (export "input_offset") (result i64)
    (global.get $input))

  (func (export "input_length") (result i64)
    (global.get $input_length))

  (func (export "input_load_u8") (param $offset i64) (result i32)
    (if (i64.ge_u (local.get $offset) (global.get $input_length)) (then (return (i32.const 0))))
    (i32.load8_u (i32.wrap_i64 (i64.add (global.get $input) (local.get $offset)))))

  (func (export "input_load_u64") (param $offset i64) (result i64)
    (if (i64.ge_u (local.get $offset) (global.get $input_length)) (then (return (i64.const 0))))
    (if (i64.lt_u (i64.sub (global.get $input_length) (local.get $offset)) (i64.const 8))
      (then (return (i64.const 0))))
    (i64.load (i32.wrap_i64 (i64.add (global.get $input) (local.get $offset)))))

  (func (export "input_set") (param $at i64) (param $length i64)
    (if (i64.gt_u (local.get $length) (i64.sub (call $bytes) (i64.const 512))) (then (return)))
    (if (call $is_outside (local.get $at) (local.get $length)) (then (return)))
    (global.set $input (local.get $at))
    (global.set $input_length (local.get $length)))

  (func (export "output_set") (param $at i64) (param $length i64)
    (i64.store (i32.const 32) (local.get $at))
    (i64.store (i32.const 40) (local.get $length)))

  (func (export "output_offset") (result i64)
    (i64.load (i32.const 32)))

  (func (export "output_length") (result i64)
    (i64.load (i32.const 40)))

  (func (export "error_set") (param $handle i64)
    (i64.store (i32.const 48) (local.get $handle))
    (i64.store (i32.const 56) (call $length (local.get $handle))))

  (func (export "error_get") (result i64)
    (i64.load (i32.const 48)))

  ;; Everything but the variables is gone, and zero.
  (func $reset (export "reset")
    (if (i64.ne (global.get $var_bytes) (i64.const 0))
      (then (call $reset_between_vars))
      (else
        (memory.fill (i32.const 32) (i32.const 0) (i32.sub (global.get $position) (i32.const 32)))
        (global.set $position (i32.const 512))))
    (global.set $input (i64.const 0))
    (global.set $input_length (i64.const 0)))

  (func $reset_between_vars (local $begin i32) (local $block i32) (local $end i32) (local $size i32)
    (memory.fill (i32.const 32) (i32.const 0) (i32.const 224))
    (local.set $end (global.get $position))
    (local.set $begin (i32.const 512))
    (local.set $block (i32.const 528))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $block) (local.get $end)))
        (local.set $size (call $size (local.get $block)))
        (if (i64.eq
              (i64.load (i32.sub (local.get $block) (i32.const 8)))
              (call $var_mark_of (local.get $block)))
          (then
            (call $clear (local.get $begin) (i32.sub (local.get $block) (i32.const 16)))
            (local.set $begin (i32.add (local.get $block) (local.get $size)))))
        (local.set $block (i32.add (i32.add (local.get $block) (local.get $size)) (i32.const 16)))
        (br $next)))
    (memory.fill (local.get $begin) (i32.const 0) (i32.sub (local.get $end) (local.get $begin)))
    (global.set $position (local.get $begin)))

  ;; Make one free block of what lies between two variables.
  (func $clear (param $begin i32) (param $end i32) (local $size i32)
    (local.set $size (i32.sub (local.get $end) (local.get $begin)))
    (if (local.get $size)
      (then
        (memory.fill (local.get $begin) (i32.const 0) (local.get $size))
        (call $push
          (i32.add (local.get $begin) (i32.const 16))
          (i32.sub (local.get $size) (i32.const 16))))))

  ;; A new event: the address for its bytes, 0 where there is no room.
  (func (export "wasmrun:begin") (param $length i32) (result i32)
    (call $reset)
    (global.set $input (call $alloc (i64.extend_i32_u (local.get $length))))
    (global.set $input_length (i64.extend_i32_u (local.get $length)))
    (i32.wrap_i64 (global.get $input)))

  ;; Variables

  (func $is_equal (param $one i32) (param $other i32) (param $length i32) (result i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $length)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br_if $next (i32.eq
          (i32.load8_u (i32.add (local.get $one) (local.get $length)))
          (i32.load8_u (i32.add (local.get $other) (local.get $length)))))
        (return (i32.const 0))))
    (i32.const 1))

  ;; Where the list of the variables begins whose names have the hash of this one.
  (func $bucket_of (param $key i32) (param $length i32) (result i32) (local $hash i32)
    (local.set $hash (i32.const 0x811c9dc5))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $length)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (local.set $hash (i32.mul
          (i32.xor (local.get $hash) (i32.load8_u (i32.add (local.get $key) (local.get $length))))
          (i32.const 0x01000193)))
        (br $next)))
    (i32.add (i32.const 256) (i32.and (i32.shr_u (local.get $hash) (i32.const 14)) (i32.const 0xfc))))

  ;; Where the address of the variable stands that the block $key names: a word with 0 in it where there is none.
  (func $find (param $key i32) (param $key_length i32) (result i32) (local $link i32) (local $var i32)
    (local.set $link (call $bucket_of (local.get $key) (local.get $key_length)))
    (block $done
      (loop $next
        (local.set $var (i32.load (local.get $link)))
        (br_if $done (i32.eqz (local.get $var)))
        (if (i32.eq (i32.load offset=4 (local.get $var)) (local.get $key_length))
          (then
            (br_if $done (call $is_equal
              (i32.add (local.get $var) (i32.const 8)) (local.get $key) (local.get $key_length)))))
        (local.set $link (local.get $var))
        (br $next)))
    (local.get $link))

  ;; What a variable counts: name, value, and 48 bytes.
  (func $cost (param $var i32) (result i64)
    (i64.add (i64.extend_i32_u (call $used (local.get $var))) (i64.const 40)))

  (func $remove (param $key i32) (param $key_length i32) (local $link i32) (local $var i32)
    (local.set $link (call $find (local.get $key) (local.get $key_length)))
    (local.set $var (i32.load (local.get $link)))
    (if (i32.eqz (local.get $var)) (then (return)))
    (global.set $var_bytes (i64.sub (global.get $var_bytes) (call $cost (local.get $var))))
    (i32.store (local.get $link) (i32.load (local.get $var)))
    (call $release (local.get $var)))

  (func (export "var_get") (param $key i64) (result i64)
    (local $var i32) (local $length i32) (local $handle i64) (local $key_length i32)
    (local.set $key_length (i32.wrap_i64 (call $wanted_length (local.get $key))))
    (local.set $var (i32.load (call $find (i32.wrap_i64 (local.get $key)) (local.get $key_length))))
    (if (local.get $var)
      (then
        (local.set $length
          (i32.sub (i32.sub (call $used (local.get $var)) (i32.const 8)) (local.get $key_length)))
        (local.set $handle (call $alloc (i64.extend_i32_u (local.get $length))))
        (if (i64.ne (local.get $handle) (i64.const 0))
          (then (memory.copy
            (i32.wrap_i64 (local.get $handle))
            (i32.add (i32.add (local.get $var) (i32.const 8)) (local.get $key_length))
            (local.get $length)))
          (else
            (if (local.get $length) (then (call $host_refuse (i32.const 2))))))))
    (call $free (local.get $key))
    (local.get $handle))

  (func (export "var_set") (param $key i64) (param $value i64)
    (local $key_length i64) (local $value_length i64) (local $cost i64) (local $var i32) (local $head i32)
    (if (i64.lt_s (global.get $var_limit) (i64.const 0))
      (then (global.set $var_limit (call $host_var_limit))))
    (if (i64.eqz (global.get $var_limit)) (then (call $host_refuse (i32.const 0))))
    (local.set $key_length (call $wanted_length (local.get $key)))
    (local.set $value_length (call $wanted_length (local.get $value)))
    (if (i64.eqz (local.get $value))
      (then
        (call $remove (i32.wrap_i64 (local.get $key)) (i32.wrap_i64 (local.get $key_length))))
      (else
        (local.set $cost
          (i64.add (i64.const 48) (i64.add (local.get $key_length) (local.get $value_length))))
        (if (i64.gt_u (i64.add (global.get $var_bytes) (local.get $cost)) (global.get $var_limit))
          (then (call $host_refuse (i32.const 1))))
        (call $remove (i32.wrap_i64 (local.get $key)) (i32.wrap_i64 (local.get $key_length)))
        (local.set $var (i32.wrap_i64 (call $alloc (i64.sub (local.get $cost) (i64.const 40)))))
        (if (i32.eqz (local.get $var)) (then (call $host_refuse (i32.const 2))))
        (i64.store (i32.sub (local.get $var) (i32.const 8)) (call $var_mark_of (local.get $var)))
        (local.set $head (call $bucket_of (i32.wrap_i64 (local.get $key)) (i32.wrap_i64 (local.get $key_length))))
        (i32.store (local.get $var) (i32.load (local.get $head)))
        (i32.store (local.get $head) (local.get $var))
        (i32.store offset=4 (local.get $var) (i32.wrap_i64 (local.get $key_length)))
        (memory.copy
          (i32.add (local.get $var) (i32.const 8))
          (i32.wrap_i64 (local.get $key))
          (i32.wrap_i64 (local.get $key_length)))
        (memory.copy
          (i32.add (i32.add (local.get $var) (i32.const 8)) (i32.wrap_i64 (local.get $key_length)))
          (i32.wrap_i64 (local.get $value))
          (i32.wrap_i64 (local.get $value_length)))
        (global.set $var_bytes (i64.add (global.get $var_bytes) (local.get $cost)))))
    (call $free (local.get $key))
    (call $free (local.get $value)))

  ;; What the host does. It takes the blocks that it is given

  (func $log (param $level i32) (param $text i64)
    (call $host_log (local.get $level)
      (i32.wrap_i64 (local.get $text)) (i32.wrap_i64 (call $length (local.get $text))))
    (call $free (local.get $text)))

  (func (export "log_trace") (param $text i64) (call $log (i32.const 0) (local.get $text)))
  (func (export "log_debug") (param $text i64) (call $log (i32.const 1) (local.get $text)))
  (func (export "log_info") (param $text i64) (call $log (i32.const 2) (local.get $text)))
  (func (export "log_warn") (param $text i64) (call $log (i32.const 3) (local.get $text)))
  (func (export "log_error") (param $text i64) (call $log (i32.const 4) (local.get $text)))

  ;; Everything is logged, up to the log's own limit.
  (func (export "get_log_level") (result i32)
    (i32.const 0))

  (func (export "config_get") (param $key i64) (result i64) (local $handle i64)
    (local.set $handle (call $host_config_get
      (i32.wrap_i64 (local.get $key)) (i32.wrap_i64 (call $wanted_length (local.get $key)))))
    (call $free (local.get $key))
    (local.get $handle))

  (func (export "http_request") (param $request i64) (param $body i64) (result i64) (local $handle i64)
    (local.set $handle (call $host_http_request
      (i32.wrap_i64 (local.get $request)) (i32.wrap_i64 (call $wanted_length (local.get $request)))
      (i32.wrap_i64 (local.get $body)) (i32.wrap_i64 (call $wanted_length (local.get $body)))))
    (call $free (local.get $request))
    (call $free (local.get $body))
    (local.get $handle))

  (export "http_status_code" (func $http_status_code))
  (export "http_headers" (func $http_headers)))
