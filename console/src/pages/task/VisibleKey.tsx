import Box from '@cloudscape-design/components/box';
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard';
import { useTranslation } from 'react-i18next';
import { Clamp } from '../../components/Clamp';
import { pieces, visible } from '../../components/visible';

/** A key as it is, byte for byte in the clipboard, and without anything hidden on the screen. */
export function VisibleKey({ name, copies = true }: { name: string; copies?: boolean }) {
  const { t } = useTranslation();
  return (
    <>
      {copies && (
        <CopyToClipboard
          variant="icon"
          textToCopy={name}
          copyButtonAriaLabel={t('detail.objects.copyKey', { key: visible(name) })}
          copySuccessText={t('common.copied')}
          copyErrorText={t('common.copyFailed')}
        />
      )}
      <Clamp text={name}>
        <bdi>
          {pieces(name).map((piece) =>
            piece.hidden ? (
              <Box key={piece.at} variant="span" color="text-status-warning" fontWeight="bold">
                {piece.text}
              </Box>
            ) : (
              piece.text
            ),
          )}
        </bdi>
      </Clamp>
    </>
  );
}
