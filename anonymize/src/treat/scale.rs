//! Values that are made coarse: hops, windows, segment and link sizes. Each function is idempotent.

/// Distance from the next initial TTL in use (32, 64, 128, 255), told as 255 minus the hops: what a sender that
/// starts at 255 would show at this place.
pub(super) fn hops_as_ttl(ttl: u8) -> u8 {
    let start = match ttl {
        0..=32 => 32,
        33..=64 => 64,
        65..=128 => 128,
        129..=255 => 255,
    };
    255 - (start - ttl)
}

/// The unscaled window, floored to a power of two.
pub(super) fn window_log2(window: u16) -> u16 {
    window.checked_ilog2().map_or(0, |log| 1 << log)
}

/// Maximum segment size by class: below 536, 536, 1220, 1460, jumbo.
pub(super) fn mss_class(mss: u16) -> u16 {
    floor_to(mss.into(), &[0, 536, 1220, 1460, 8960]) as u16
}

/// Link MTU by class: what tunnels and link types make common.
pub(super) fn mtu_class(mtu: u32) -> u32 {
    floor_to(mtu, &[0, 576, 1280, 1400, 1480, 1500, 9000])
}

fn floor_to(value: u32, steps: &[u32]) -> u32 {
    steps
        .iter()
        .copied()
        .take_while(|step| *step <= value)
        .last()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_is_idempotent() {
        for value in 0..=u16::MAX {
            assert_eq!(window_log2(window_log2(value)), window_log2(value));
            assert_eq!(mss_class(mss_class(value)), mss_class(value));
            assert_eq!(mtu_class(mtu_class(value.into())), mtu_class(value.into()));
        }
        for ttl in 0..=255 {
            assert_eq!(hops_as_ttl(hops_as_ttl(ttl)), hops_as_ttl(ttl));
        }
    }

    #[test]
    fn hops_do_not_tell_the_initial_ttl() {
        assert_eq!([64, 128, 255].map(hops_as_ttl), [255; 3]);
        assert_eq!([57, 121, 248].map(hops_as_ttl), [248; 3]);
    }
}
