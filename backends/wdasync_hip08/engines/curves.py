"""Elliptic curves: points, signatures, and the ladder of X25519 and X448.

All that is known of a curve is what the descriptor's key block says. Nothing asks whether a point lies on it: the silicon does
not either. Not in constant time: it is a model.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from wdasync_hip08.engines.modular import ArithmeticFault, inverse

__all__ = ["Curve", "Point", "ecdsa_sign", "ecdsa_verify", "ladder", "sm2_keys", "sm2_sign", "sm2_verify"]

#: (A − 2) / 4 of Curve25519 and Curve448. Linux and UADK put this number where A is expected; both are taken.
QUARTERS = (121665, 39081)


class Point(NamedTuple):
    """Affine coordinates."""

    x: int
    y: int


#: Jacobian coordinates: x / z², y / z³; z = 0 is the point at infinity.
_Jacobian = tuple[int, int, int]
_INFINITY: _Jacobian = (1, 1, 0)


class Curve(NamedTuple):
    """y² = x³ + a·x + b modulo p, with a base point of order n. The arithmetic needs no b."""

    p: int
    a: int
    n: int
    g: Point

    def multiply(self, factor: int, point: Point) -> Point:
        """A point so many times.

        :raises ArithmeticFault: the result is at infinity, or p is no prime
        """
        return self._affine(self._times(factor, point))

    def combine(self, factor: int, other_factor: int, other: Point) -> Point:
        """The base point so many times, plus another so many times. Raises as :meth:`multiply`."""
        return self._affine(self._add(self._times(factor, self.g), self._times(other_factor, other)))

    def _times(self, factor: int, point: Point) -> _Jacobian:
        base = (point.x % self.p, point.y % self.p, 1)
        result = _INFINITY
        for bit in range(factor.bit_length() - 1, -1, -1):
            result = self._double(result)
            if factor >> bit & 1:
                result = self._add(result, base)
        return result

    def _double(self, point: _Jacobian) -> _Jacobian:
        x, y, z = point
        p = self.p
        if not z or not y:
            return _INFINITY
        yy = y * y % p
        s = 4 * x * yy % p
        m = (3 * x * x + self.a * pow(z, 4, p)) % p
        x3 = (m * m - 2 * s) % p
        return x3, (m * (s - x3) - 8 * yy * yy) % p, 2 * y * z % p

    def _add(self, one: _Jacobian, other: _Jacobian) -> _Jacobian:
        if not one[2]:
            return other
        if not other[2]:
            return one
        p = self.p
        (x1, y1, z1), (x2, y2, z2) = one, other
        zz1, zz2 = z1 * z1 % p, z2 * z2 % p
        u1, u2 = x1 * zz2 % p, x2 * zz1 % p
        s1, s2 = y1 * zz2 * z2 % p, y2 * zz1 * z1 % p
        h, r = (u2 - u1) % p, (s2 - s1) % p
        if not h:
            return _INFINITY if r else self._double(one)
        hh = h * h % p
        hhh, v = h * hh % p, u1 * hh % p
        x3 = (r * r - hhh - 2 * v) % p
        return x3, (r * (v - x3) - s1 * hhh) % p, h * z1 * z2 % p

    def _affine(self, point: _Jacobian) -> Point:
        x, y, z = point
        if not z:
            raise ArithmeticFault("a point at infinity")
        iz = inverse(z, self.p)
        return Point(x * iz * iz % self.p, y * iz * iz * iz % self.p)


def ecdsa_sign(curve: Curve, d: int, e: int, k: int) -> tuple[int, int]:
    """R and s (FIPS 186-5, section 6.4.1).

    :raises ArithmeticFault: one of them is 0, or k is
    """
    r = curve.multiply(k, curve.g).x % curve.n
    s = inverse(k, curve.n) * (e + r * d) % curve.n
    if not r or not s:
        raise ArithmeticFault("a signature of 0")
    return r, s


def ecdsa_verify(curve: Curve, q: Point, e: int, s: int, r: int) -> bool:
    """Whether a signature is valid (FIPS 186-5, section 6.4.2)."""
    if not (0 < r < curve.n and 0 < s < curve.n):
        return False
    w = inverse(s, curve.n)
    try:
        return curve.combine(e * w % curve.n, r * w % curve.n, q).x % curve.n == r
    except ArithmeticFault:
        return False


def sm2_sign(curve: Curve, d: int, e: int, k: int | None) -> tuple[int, int]:
    """R and s (GB/T 32918.2, section 6.1).

    :param k: ``None``: the device picks it
    :raises ArithmeticFault: this k gives no signature
    """
    n = curve.n
    if k is None:
        k = secrets.randbelow(n - 1) + 1
    r = (e + curve.multiply(k, curve.g).x) % n
    s = inverse(1 + d, n) * (k - r * d) % n
    if not r or (r + k) % n == 0 or not s:
        raise ArithmeticFault("a signature of 0")
    return r, s


def sm2_verify(curve: Curve, q: Point, e: int, s: int, r: int) -> bool:
    """Whether a signature is valid (GB/T 32918.2, section 7.1)."""
    n = curve.n
    t = (r + s) % n
    if not (0 < r < n and 0 < s < n and t):
        return False
    try:
        return (e + curve.combine(s, t, q).x) % n == r
    except ArithmeticFault:
        return False


def sm2_keys(curve: Curve) -> tuple[int, int, int]:
    """qx, qy and d, at random (GB/T 32918.1, section 6.1).

    :raises ArithmeticFault: the base point is none
    """
    if curve.n < 4:
        raise ArithmeticFault("a group without keys")
    d = secrets.randbelow(curve.n - 3) + 1
    return *curve.multiply(d, curve.g), d


def ladder(p: int, a: int, scalar: int, u: int) -> int:
    """The u-coordinate of a point on a Montgomery curve, so many times (RFC 7748, section 5).

    :param a: A of the curve, or (A − 2) / 4 as Linux and UADK write it
    :raises ArithmeticFault: p is no prime
    """
    if p < 3:
        raise ArithmeticFault("a prime below 3")
    quarter = a if a in QUARTERS else (a - 2) * inverse(4, p) % p
    x1, x2, z2, x3, z3 = u % p, 1, 0, u % p, 1
    swapped = 0
    for bit in range(max(scalar.bit_length(), p.bit_length()) - 1, -1, -1):
        now = scalar >> bit & 1
        if now ^ swapped:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = now
        plus, minus = (x2 + z2) % p, (x2 - z2) % p
        squares, differences = plus * plus % p, minus * minus % p
        e = squares - differences
        da, cb = (x3 - z3) * plus % p, (x3 + z3) * minus % p
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        x2, z2 = squares * differences % p, e * (squares + quarter * e) % p
    if swapped:
        x2, z2 = x3, z3
    return x2 * pow(z2, p - 2, p) % p
