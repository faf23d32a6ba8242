package polystore.fiji.imagej;

import ij.measure.Calibration;
import polystore.fiji.transport.Item;

/** Extents and units of pixels, as ImageJ has them. */
final class Scale {
    private Scale() {}

    /** Return what an item says of its pixels; axes of which it says nothing are of size 1. */
    static Calibration of(Item item) {
        Calibration made = new Calibration();
        for (int at = 0; at < item.axes.length(); at++) {
            double extent = at < item.scale.length ? item.scale[at] : 1;
            String unit = at < item.units.length ? unit(item.units[at]) : null;
            switch (item.axes.charAt(at)) {
                case 'x':
                    made.pixelWidth = extent;
                    if (unit != null) made.setXUnit(unit);
                    break;
                case 'y':
                    made.pixelHeight = extent;
                    if (unit != null) made.setYUnit(unit);
                    break;
                case 'z':
                    made.pixelDepth = extent;
                    if (unit != null) made.setZUnit(unit);
                    break;
                case 't':
                    made.frameInterval = extent;
                    if (unit != null) made.setTimeUnit(unit);
                    break;
                default: // channels and samples have no extent
            }
        }
        return made;
    }

    /** Names of UDUNITS-2, as ImageJ writes them. */
    private static String unit(String name) {
        if (name == null) return null;
        switch (name) {
            case "micrometer":
                return "\u00b5m";
            case "nanometer":
                return "nm";
            case "millimeter":
                return "mm";
            case "centimeter":
                return "cm";
            case "meter":
                return "m";
            case "angstrom":
                return "\u00c5";
            case "second":
                return "sec";
            case "millisecond":
                return "ms";
            case "minute":
                return "min";
            case "hour":
                return "h";
            default:
                return name;
        }
    }
}
