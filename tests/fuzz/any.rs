//! The libFuzzer entry of every target. `TICKWIRE_SEEDS` names a folder that gets the seeds before anything is run.
#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("TICKWIRE_SEEDS") {
            for (n, seed) in (target().seeds)().iter().enumerate() {
                std::fs::write(std::path::Path::new(&folder).join(format!("seed-{n:03}")), seed)
                    .expect("a seed can be written");
            }
        }
    },
    |data: &[u8]| (target().run)(data)
);

fn target() -> &'static targets::Target {
    targets::ALL.iter().find(|target| target.name == env!("CARGO_BIN_NAME")).expect("a target of that name")
}
