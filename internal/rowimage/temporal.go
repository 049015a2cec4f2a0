package rowimage

import "strconv"

// Offsets make the stored integers compare like the times: the sign bit is inverted.
const (
	timeOffset     = 0x800000
	datetimeOffset = 0x8000000000
)

// appendTime converts the temporal types.
func (c *column) appendTime(dst, raw []byte) []byte {
	switch c.typ {
	case typeDate:
		v := littleEndian(raw)
		return appendDate(dst, v>>9, v>>5&15, v&31)
	case typeTime:
		return appendOldTime(dst, raw)
	case typeDatetime: // the decimal digits of 20240131235959
		v := littleEndian(raw)
		day, clock := v/1_000_000, v%1_000_000
		dst = appendDate(dst, day/10_000, day/100%100, day%100)
		return appendClock(append(dst, ' '), clock/10_000, clock/100%100, clock%100)
	case typeTimestamp:
		return appendEpoch(dst, littleEndian(raw))
	case typeTimestamp2:
		return appendFraction(appendEpoch(dst, bigEndian(raw[:4])), bigEndian(raw[4:]), int(c.meta))
	case typeDatetime2:
		dst = appendDatetime(dst, bigEndian(raw[:5])-datetimeOffset)
		return appendFraction(dst, bigEndian(raw[5:]), int(c.meta))
	}
	return appendTime2(dst, raw, int(c.meta))
}

func appendDate(dst []byte, year, month, day uint64) []byte {
	if year > 9999 || month > 99 || day > 99 { // not of this server
		dst = append(appendPadded(dst, year, 4), '-')
		return appendPadded(append(appendPadded(dst, month, 2), '-'), day, 2)
	}
	y, z := pairs[year/100], pairs[year%100]
	m, d := pairs[month], pairs[day]
	return append(dst, y[0], y[1], z[0], z[1], '-', m[0], m[1], '-', d[0], d[1])
}

func appendClock(dst []byte, hour, minute, second uint64) []byte {
	if hour > 99 || minute > 99 || second > 99 { // a TIME has up to 838 hours
		dst = append(appendPadded(dst, hour, 2), ':')
		return appendPadded(append(appendPadded(dst, minute, 2), ':'), second, 2)
	}
	h, m, s := pairs[hour], pairs[minute], pairs[second]
	return append(dst, h[0], h[1], ':', m[0], m[1], ':', s[0], s[1])
}

// pairs are the numbers of two digits.
var pairs = func() (p [100][2]byte) {
	for i := range p {
		p[i] = [2]byte{byte('0' + i/10), byte('0' + i%10)}
	}
	return p
}()

// appendDatetime takes the packed form: year*13+month, day, hour, minute, second, from the high bits to the low.
func appendDatetime(dst []byte, v uint64) []byte {
	yearMonth := v >> 22 & (1<<17 - 1)
	dst = appendDate(dst, yearMonth/13, yearMonth%13, v>>17&31)
	return appendClock(append(dst, ' '), v>>12&31, v>>6&63, v&63)
}

// appendFraction takes the fraction as it is stored: one byte for two digits.
func appendFraction(dst []byte, stored uint64, fsp int) []byte {
	if fsp == 0 {
		return dst
	}
	if fsp%2 == 1 { // stored with one digit more, which is zero
		stored /= 10
	}
	return appendPadded(append(dst, '.'), stored, fsp)
}

// appendTime2 converts TIME(fsp). A negative time is stored as one number with its fraction, so that the fraction counts upwards from the next
// lower second.
func appendTime2(dst, raw []byte, fsp int) []byte {
	bytes := len(raw) - 3
	unit := int64(1) << (8 * bytes)
	v := int64(bigEndian(raw)) - timeOffset*unit
	if v < 0 {
		dst, v = append(dst, '-'), -v
	}
	clock, fraction := uint64(v/unit), uint64(v%unit)
	dst = appendClock(dst, clock>>12&1023, clock>>6&63, clock&63)
	return appendFraction(dst, fraction, fsp)
}

// appendOldTime converts the TIME of MySQL before 5.6.4: the decimal digits of hhmmss, signed.
func appendOldTime(dst, raw []byte) []byte {
	v := int64(littleEndian(raw)<<40) >> 40
	if v < 0 {
		dst, v = append(dst, '-'), -v
	}
	clock := uint64(v)
	return appendClock(dst, clock/10_000, clock/100%100, clock%100)
}

// appendEpoch prints seconds since 1970 in UTC. 0 is the zero date.
func appendEpoch(dst []byte, seconds uint64) []byte {
	if seconds == 0 {
		return append(dst, "0000-00-00 00:00:00"...)
	}
	year, month, day := civil(int64(seconds / 86400))
	clock := seconds % 86400
	dst = append(appendDate(dst, year, month, day), ' ')
	return appendClock(dst, clock/3600, clock/60%60, clock%60)
}

// civil turns days since 1970 into a date of the Gregorian calendar: Howard Hinnant's civil_from_days, without its eras before 1970.
func civil(days int64) (year, month, day uint64) {
	z := uint64(days) + 719468
	era, doe := z/146097, z%146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	year, month, day = yoe+era*400, mp+3, doy-(153*mp+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}

// appendPadded prints at least width digits.
func appendPadded(dst []byte, v uint64, width int) []byte {
	for limit := powersOf10[width-1]; limit > 1 && v < limit; limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendUint(dst, v, 10)
}

var powersOf10 = [...]uint64{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000}
