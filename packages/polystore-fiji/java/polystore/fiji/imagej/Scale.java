package polystore.fiji.imagej;

import ij.measure.Calibration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import polystore.fiji.transport.Item;

/** Pixel sizes and units in ImageJ. */
final class Scale {
    private Scale() {}

    /** Return the pixel sizes of an item. An axis without one has size 1. */
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
                default: // channels and samples do not have a size
            }
        }
        // If y or z has its own unit, it stays when the user sets the unit of the image.
        if (made.getUnit().equals(made.getYUnit())) made.setYUnit(null);
        if (made.getUnit().equals(made.getZUnit())) made.setZUnit(null);
        return made;
    }

    /**
     * Return the differences between the sizes of a pipeline and those of ImageJ: an object for
     * each axis, with its name, and with its scale and unit if one of them is another.
     */
    static List<Object> edits(String axes, Calibration said, Calibration now) {
        List<Object> edits = new ArrayList<>();
        for (char axis : axes.toCharArray()) {
            Map<String, Object> edit = new LinkedHashMap<>();
            edit.put("name", String.valueOf(axis));
            String unit = unit(axis, now);
            if (extent(axis, said) != extent(axis, now) || !unit(axis, said).equals(unit)) {
                edit.put("scale", extent(axis, now));
                if (!unit.isEmpty() && !unit.startsWith("pixel")) edit.put("unit", unit);
            }
            edits.add(edit);
        }
        return edits;
    }

    private static double extent(char axis, Calibration of) {
        switch (axis) {
            case 'x':
                return of.pixelWidth;
            case 'y':
                return of.pixelHeight;
            case 'z':
                return of.pixelDepth;
            case 't':
                return of.frameInterval;
            default:
                return 1;
        }
    }

    private static String unit(char axis, Calibration of) {
        switch (axis) {
            case 'x':
                return of.getXUnit();
            case 'y':
                return of.getYUnit();
            case 'z':
                return of.getZUnit();
            case 't':
                return of.getTimeUnit();
            default:
                return "";
        }
    }

    /** ImageJ's spelling of names of UDUNITS-2. */
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
