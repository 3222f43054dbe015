;; ICMP packets of one type: a module written by hand, from docs/module-abi.md alone.
;;
;;   wat2wasm echo.wat -o echo.wasm
;;   como module sign . --wasm echo.wasm -o echo.cmod
(module
  ;; One page. 1024: the arena, with `weight` at 1024 + 64 and `icmp_type` 4 x 1024 bytes behind it.
  ;; 16384: the output, one column of one row.
  (memory (export "memory") 1 1)
  (global $type (mut i32) (i32.const 0))
  (global $count (mut i64) (i64.const 0))

  (func (export "como_abi") (result i32) (i32.const 1))
  (func (export "como_arena") (result i32) (i32.const 1024))
  (func (export "como_output") (result i32) (i32.const 16384))

  ;; The one argument stands where the columns will.
  (func (export "init") (param $args_bytes i32) (result i32)
    (global.set $type (i32.wrap_i64 (i64.load (i32.const 1088))))
    (i32.ne (local.get $args_bytes) (i32.const 8)))

  (func (export "update") (param $packets i32) (result i32)
    (local $i i32)
    (loop $packet
      (if (i32.eq (i32.load8_u offset=5184 (local.get $i)) (global.get $type))
        (then
          (global.set $count
            (i64.add (global.get $count)
              (i64.load32_u offset=1088 (i32.shl (local.get $i) (i32.const 2)))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $packet (i32.lt_u (local.get $i) (local.get $packets))))
    (i32.const 0))

  ;; Header of 16 bytes with the number of rows, the value, padding to 16.
  (func (export "store") (result i32)
    (i32.store (i32.const 16384) (i32.const 1))
    (i64.store (i32.const 16400) (global.get $count))
    (global.set $count (i64.const 0))
    (i32.const 32)))
