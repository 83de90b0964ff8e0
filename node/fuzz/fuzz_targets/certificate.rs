#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mqttd_fuzz::certificate::hold(input));
