//! Two network namespaces joined by a veth pair: receivers listen on the end that lies in ours, the generator sends
//! from the end in the other, where nothing else speaks. Gone when it is dropped. Needs root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use como_tests::trial;

use crate::peers::found;

/// Largest MTU of a veth, bytes: every frame of a capture fits.
const MTU: &str = "65535";

/// A link between two namespaces.
pub struct Link {
    /// The receivers' end, in our namespace.
    pub interface: String,
    /// The generator's end.
    far: String,
    namespace: String,
}

impl Link {
    /// Makes the pair; the error says what is missing.
    pub fn lay() -> trial::Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err("a link of one's own needs root; run `sudo make bench`".into());
        }
        found("ip")?;
        let id = std::process::id() % 1_000_000;
        let link = Self {
            interface: format!("como{id}a"),
            far: format!("como{id}b"),
            namespace: format!("como-bench-{id}"),
        };
        ip(&["netns", "add", &link.namespace])?;
        // From here on, dropping the link removes what there is.
        let pair = [
            "link",
            "add",
            &link.interface,
            "type",
            "veth",
            "peer",
            "name",
            &link.far,
        ];
        ip(&pair)?;
        ip(&["link", "set", &link.far, "netns", &link.namespace])?;
        link.be_silent()?;
        ip(&["link", "set", &link.interface, "mtu", MTU, "up"])?;
        ip(&["-n", &link.namespace, "link", "set", &link.far, "mtu", MTU, "up"])?;
        Ok(link)
    }

    /// No neighbour discovery: what arrives is what was sent.
    fn be_silent(&self) -> trial::Result<()> {
        let switch = |interface: &str| format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        if !PathBuf::from(switch(&self.interface)).exists() {
            return Ok(()); // A kernel without IPv6 says nothing by itself.
        }
        let near = switch(&self.interface);
        fs::write(&near, "1").map_err(|e| format!("{near}: {e}"))?;
        let mut far = self.far_command("sh", 0);
        trial::run(far.args(["-c", &format!("echo 1 > {}", switch(&self.far))]))?;
        Ok(())
    }

    /// A program in the generator's namespace, with a priority as nice(1) takes it. Its process is the program's own.
    pub fn far_command(&self, program: &str, nice: i8) -> Command {
        let mut command = Command::new("nice");
        command.args([
            "-n",
            &nice.to_string(),
            "ip",
            "netns",
            "exec",
            &self.namespace,
            program,
        ]);
        command
    }

    /// The generator's interface.
    pub fn far_interface(&self) -> &str {
        &self.far
    }

    /// Packets that reached the receivers' end since it is there.
    pub fn received(&self) -> trial::Result<u64> {
        let counter = format!("/sys/class/net/{}/statistics/rx_packets", self.interface);
        let text = fs::read_to_string(&counter).map_err(|e| format!("{counter}: {e}"))?;
        text.trim().parse().map_err(|e| format!("{counter}: {e}"))
    }

    /// Packet sockets that listen on the receivers' end.
    pub fn listeners(&self) -> usize {
        let index = format!("/sys/class/net/{}/ifindex", self.interface);
        let index = fs::read_to_string(index).unwrap_or_default();
        let sockets = fs::read_to_string("/proc/net/packet").unwrap_or_default();
        listeners(&sockets, index.trim())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The pair goes with either end.
        let _ = ip(&["link", "del", &self.interface]);
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

fn ip(args: &[&str]) -> trial::Result<()> {
    trial::run(Command::new("ip").args(args)).map(drop)
}

/// Of `/proc/net/packet`: columns `sk RefCnt Type Proto Iface R Rmem User Inode`, `R` being 1 while it listens.
fn listeners(table: &str, index: &str) -> usize {
    let rows = table.lines().skip(1);
    let fields = rows.map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    fields
        .filter(|row| row.get(4) == Some(&index) && row.get(5) == Some(&"1"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_on_the_interface_count() {
        let table = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                     00000000a 3      3    0003   7     1 0      0      11\n\
                     00000000b 3      3    0000   7     0 0      0      12\n\
                     00000000c 3      3    0003   71    1 0      0      13\n";
        assert_eq!(listeners(table, "7"), 1);
        assert_eq!(listeners(table, "8"), 0);
    }
}
