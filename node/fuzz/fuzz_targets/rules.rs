#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mqttd_fuzz::rules::hold(input));
