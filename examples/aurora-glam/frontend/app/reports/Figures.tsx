"use client";

import { Show } from "../../components/Show";
import { useResource } from "../../components/useResource";
import { bases } from "../../lib/bases";
import { get } from "../../lib/client";
import { day, permille, price } from "../../lib/format";
import type { Report, Summary } from "../../lib/types";

const figures = async () => {
  const [summary, reports] = await Promise.all([
    get<Summary>(bases.reports, "/reports/summary"),
    get<Report[]>(bases.reports, "/reports"),
  ]);
  return { summary, reports };
};

export function Figures() {
  const loaded = useResource(figures);
  return (
    <section aria-labelledby="figures">
      <h2 id="figures">Revenue</h2>
      <Show of={loaded} what="the figures">
        {({ summary, reports }) => {
          const most = Math.max(1, ...reports.map((report) => report.revenue_cents));
          return (
            <>
              <dl className="figures">
                <div>
                  <dt>Revenue</dt>
                  <dd>{price(summary.revenue_cents)}</dd>
                </div>
                <div>
                  <dt>Appointments</dt>
                  <dd>{summary.appointments}</dd>
                </div>
                <div>
                  <dt>Cancelled</dt>
                  <dd>{permille(summary.cancelled_permille)}</dd>
                </div>
                <div>
                  <dt>Best day</dt>
                  <dd>{summary.best_day === null ? "none yet" : day(summary.best_day)}</dd>
                </div>
              </dl>
              <table className="bars">
                <thead>
                  <tr>
                    <th scope="col">Day</th>
                    <th scope="col">Revenue</th>
                    <th scope="col">Appointments</th>
                  </tr>
                </thead>
                <tbody>
                  {reports.map((report) => (
                    <tr key={report.id}>
                      <th scope="row">{day(report.day)}</th>
                      <td>
                        <span
                          className="bar"
                          style={{ inlineSize: `${Math.round((report.revenue_cents * 100) / most)}%` }}
                        >
                          {price(report.revenue_cents)}
                        </span>
                      </td>
                      <td>{report.appointments}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </>
          );
        }}
      </Show>
    </section>
  );
}
