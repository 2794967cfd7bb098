//! Generates the bindings from the installed libdpdk and compiles the shim.
//!
//! Links the core libraries only: drivers are plug-ins, which the EAL loads from its own
//! directory (`…/dpdk/pmds-*`) when it starts.

use std::path::PathBuf;
use std::process::Command;
use std::{env, process};

/// What the bindings call into. Everything else is a plug-in or a dependency of these.
const LIBRARIES: [&str; 4] = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_eal"];

/// Functions of DPDK that Weir calls directly; the rest of the 8000 stay out.
const FUNCTIONS: &[&str] = &[
    "weir_.*",
    "rte_eal_init",
    "rte_eal_get_runtime_dir",
    "rte_strerror",
    "rte_version",
    "rte_openlog_stream",
    "rte_dev_(probe|remove)",
    "rte_eth_iterator_(init|next|cleanup)",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_info_get",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_dev_(start|stop|close)",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_(set|get)_mtu",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_(enable|disable)",
    "rte_eth_allmulticast_enable",
    "rte_eth_stats_get",
    "rte_eth_xstats_get(_names)?",
    "rte_mempool_(in_use|avail)_count",
    "rte_mempool_calc_obj_size",
    "rte_mempool_(create_empty|set_ops_byname|populate_default|obj_iter|free)",
    "rte_mbuf_best_mempool_ops",
    "rte_pktmbuf_(pool_)?init",
    "rte_pktmbuf_free_bulk",
    "rte_thread_(un)?register",
    "fopencookie",
    "setvbuf",
    "if_nametoindex",
];

/// More of them, with the feature `hash`.
const HASH_FUNCTIONS: &str = "rte_hash_(create|free|add_key_data|lookup_bulk_data)";

/// `pkg-config FLAG libdpdk`, or one line that says what to install.
fn pkg_config(flag: &str) -> Vec<String> {
    let tool = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let answer = Command::new(tool).args([flag, "libdpdk"]).output();
    match answer {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout)
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        _ => fail("libdpdk is not installed; fix: apt install libdpdk-dev clang pkg-config"),
    }
}

/// Cargo prints a build script's last words; a panic would bury them under a backtrace hint.
fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    process::exit(1);
}

/// Whether the feature `hash` is on.
fn has_hash() -> bool {
    env::var_os("CARGO_FEATURE_HASH").is_some()
}

fn main() {
    for watched in ["build.rs", "shim.c", "shim.h"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    println!("cargo::rerun-if-env-changed=PKG_CONFIG");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");

    let version = pkg_config("--modversion").concat();
    let release = version
        .split('.')
        .filter_map(|part| part.parse::<u32>().ok());
    if release.take(2).lt([22, 11]) {
        fail(&format!(
            "libdpdk {version} is too old; fix: install DPDK 22.11 or a newer LTS"
        ));
    }
    let mut cflags = pkg_config("--cflags");
    if has_hash() {
        cflags.push("-DWEIR_HASH".into());
        println!("cargo::rustc-link-lib=dylib=rte_hash");
    }

    let mut shim = cc::Build::new();
    shim.file("shim.c")
        .flag("-O3")
        .flag("-std=gnu11")
        .warnings(false);
    for flag in &cflags {
        shim.flag(flag);
    }
    shim.compile("weir_shim");

    for flag in pkg_config("--libs-only-L") {
        if let Some(directory) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={directory}");
        }
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("dpdk.rs");
    bindings(&cflags)
        .generate()
        .unwrap_or_else(|e| fail(&format!("bindgen: {e}; fix: apt install libdpdk-dev clang")))
        .write_to_file(&out)
        .unwrap_or_else(|e| fail(&format!("{}: {e}", out.display())));
}

fn bindings(cflags: &[String]) -> bindgen::Builder {
    let mut builder = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(cflags)
        // fopencookie is GNU's.
        .clang_arg("-D_GNU_SOURCE")
        .allowlist_recursively(true)
        .allowlist_var("WEIR_.*")
        .allowlist_type("weir_mbuf_(offset|size)")
        .allowlist_type("rte_pktmbuf_pool_private")
        .allowlist_type("rte_eth_(xstat|xstat_name|stats|conf|dev_info|dev_portconf)")
        // Offsets become plain constants, which is all that the accessors need.
        .constified_enum("weir_mbuf_(offset|size)")
        .prepend_enum_name(false)
        // Read at offsets that C computed; see shim.h.
        .opaque_type("rte_mbuf")
        .opaque_type("rte_mempool")
        // Packed and aligned at once, which Rust cannot say.
        .opaque_type("rte_arp_.*")
        .opaque_type("rte_device")
        .opaque_type("rte_bus")
        .opaque_type("rte_class")
        .opaque_type("rte_dev_iterator")
        .opaque_type("_IO_FILE")
        .use_core()
        .layout_tests(false)
        .derive_default(true)
        .derive_debug(false)
        .generate_comments(false)
        .rust_target(bindgen::RustTarget::stable(85, 0).expect("1.85 is a release"))
        .rust_edition(bindgen::RustEdition::Edition2024);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    if has_hash() {
        builder = builder.allowlist_function(HASH_FUNCTIONS);
    }
    builder
}
