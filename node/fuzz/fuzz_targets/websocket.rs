#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mqttd_fuzz::websocket::hold(input));
